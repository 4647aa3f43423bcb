package assist

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sealpost/assist/assisttest"
	"sealpost/fault"
)

const (
	content = "# Report\n\nThe pump ran for 12 hours. It was stopped then. See [the log](https://example.org/log).\n\nIt was checked, it was checked.\n"
	source  = "Log of 3 May 2026: the pump was stopped at 17:45 by the operator. Details: https://example.org/pump/7"
)

func TestSuggest(t *testing.T) {
	answer := `{"suggestions":[
		{"kind":"CLARITY","quote":"It was stopped then.","replacement":"It was then stopped.","reason":"Reads better.","source":""},
		{"kind":"FACT","quote":"It was stopped then.","replacement":"It was stopped at 17:45.","reason":"The log says when.","source":"the pump was stopped at 17:45"},
		{"kind":"CLARITY","quote":"It ran well.","replacement":"It ran.","reason":"Shorter.","source":""}]}`
	s := assisttest.Start(t, assisttest.Says(answer[:40], answer[40:]))
	got, err := assistant(t, s).Suggest(t.Context(), SuggestRequest{Title: "Report", Content: content, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	want := []Suggestion{
		{Clarity, "It was stopped then.", "It was then stopped.", "Reads better.", ""},
		{Fact, "It was stopped then.", "It was stopped at 17:45.", "The log says when.", "the pump was stopped at 17:45"},
	}
	if !reflect.DeepEqual(got.Suggestions, want) || got.Dropped != 1 {
		t.Errorf("got %+v, %d dropped", got.Suggestions, got.Dropped)
	}
	tr := got.Trace
	if tr.Purpose != Suggesting || tr.PromptVersion != suggesting.version || tr.Dropped != 1 || tr.Outcome != Complete ||
		tr.ReceivedHash != Hash(tr.Salt, answer) {
		t.Errorf("the trace is %+v", tr)
	}
	sent := s.Requests()[0]
	if sent.Messages[0].Content != suggesting.system || !strings.Contains(sent.Messages[1].Content, content) || !strings.Contains(sent.Messages[1].Content, source) {
		t.Errorf("sent %s", sent.Body)
	}
}

func TestSuggestLimits(t *testing.T) {
	s := assisttest.Start(t, assisttest.Says("{}"), assisttest.Says(`{"suggestions":[]}`))
	a := assistant(t, s)
	_, err := a.Suggest(t.Context(), SuggestRequest{Title: "a", Content: " \n"})
	wantFault(t, err, fault.Invalid, "empty")
	_, err = a.Suggest(t.Context(), SuggestRequest{Title: "a", Content: strings.Repeat("x", MaxInput)})
	wantFault(t, err, fault.TooLarge, "262145 bytes")
	got, err := a.Suggest(t.Context(), SuggestRequest{Content: strings.Repeat("x", MaxInput)})
	wantFault(t, err, fault.Unavailable, "cannot be used")
	if got.Trace.Outcome != Unusable || got.Trace.ID == "" {
		t.Errorf("the trace is %+v", got.Trace)
	}
	got, err = a.Suggest(t.Context(), SuggestRequest{Content: "x"})
	if err != nil || got.Suggestions == nil || len(got.Suggestions) != 0 {
		t.Errorf("got %+v and the error %v", got, err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		n          int // -1: unusable
	}{
		{"the object", `{"suggestions":[{},{}]}`, 2},
		{"in a fence", "```json\n{\"suggestions\":[{}]}\n```\n", 1},
		{"with talk around it", "Here you are:\n{\"suggestions\":[]}\nAnything else?", 0},
		{"with more in it", `{"note":"x","suggestions":[1]}`, 1},
		{"talk alone", "There is nothing to say.", -1},
		{"half of it", `{"suggestions":[{}`, -1},
		{"no list", `{"suggestions":"none"}`, -1},
		{"null", `{"suggestions":null}`, -1},
		{"another object", `{"items":[]}`, -1},
		{"two objects", `{"suggestions":[]} {"suggestions":[]}`, -1},
		{"backwards", `}{`, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			items, err := parse(tt.text)
			if (err != nil) != (tt.n < 0) || err == nil && len(items) != tt.n {
				t.Errorf("got %s and the error %v", items, err)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	good := Suggestion{Clarity, "It was stopped then.", "It was then stopped.", "Reads better.", ""}
	fact := Suggestion{Fact, "It was stopped then.", "It was stopped at 17:45.", "The log says so.", "the pump was stopped at 17:45"}
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, tt := range []struct {
		name   string
		from   Suggestion
		change func(*Suggestion)
		want   bool
	}{
		{"a good one", good, func(*Suggestion) {}, true},
		{"to take out", good, func(s *Suggestion) { s.Replacement = "" }, true},
		{"with Markdown", good, func(s *Suggestion) { s.Quote = "# Report\n\nThe" }, true},
		{"no such kind", good, func(s *Suggestion) { s.Kind = "PRAISE" }, false},
		{"a kind in small letters", good, func(s *Suggestion) { s.Kind = "clarity" }, false},
		{"no quote", good, func(s *Suggestion) { s.Quote = "" }, false},
		{"a quote that is not there", good, func(s *Suggestion) { s.Quote = "It was stopped later." }, false},
		{"a quote with other white space", good, func(s *Suggestion) { s.Quote = "It  was stopped then." }, false},
		{"a quote with other letters", good, func(s *Suggestion) { s.Quote = "it was stopped then." }, false},
		{"a quote that is there twice", good, func(s *Suggestion) { s.Quote = "it was checked"; s.Replacement = "so it was" }, true},
		{"a quote that is there twice or more", good, func(s *Suggestion) { s.Quote = "t was checked" }, false},
		{"no change", good, func(s *Suggestion) { s.Replacement = s.Quote }, false},
		{"no reason", good, func(s *Suggestion) { s.Reason = "" }, false},
		{"the longest reason", good, func(s *Suggestion) { s.Reason = long(MaxReason) }, true},
		{"a longer reason", good, func(s *Suggestion) { s.Reason = long(MaxReason + 1) }, false},
		{"the longest replacement", good, func(s *Suggestion) { s.Replacement = long(MaxReplacement) }, true},
		{"a longer replacement", good, func(s *Suggestion) { s.Replacement = long(MaxReplacement + 1) }, false},
		{"a NUL", good, func(s *Suggestion) { s.Replacement = "a\x00" }, false},
		{"a line break and a tab", good, func(s *Suggestion) { s.Replacement = "a\n\tb" }, true},
		{"another direction", good, func(s *Suggestion) { s.Replacement = "a\u202eb" }, false},
		{"another direction in the reason", good, func(s *Suggestion) { s.Reason = "a\u2066b" }, false},

		{"a fact with its source", fact, func(*Suggestion) {}, true},
		{"a fact without a source", fact, func(s *Suggestion) { s.Source = "" }, false},
		{"a fact in words, without a source", fact, func(s *Suggestion) { s.Source, s.Replacement = "", "The operator stopped it." }, false},
		{"a source that is not there", fact, func(s *Suggestion) { s.Source = "the pump was stopped at 17:46" }, false},
		{"a source for what is no fact", good, func(s *Suggestion) { s.Source = "the pump was stopped" }, true},
		{"an invented source for what is no fact", good, func(s *Suggestion) { s.Source = "the pump was broken" }, false},
		{"the shortest source", fact, func(s *Suggestion) { s.Source = "at 17:45" }, true},
		{"a shorter source", fact, func(s *Suggestion) { s.Source = "t 17:45" }, false},
		{"a source from the content", fact, func(s *Suggestion) { s.Source = "It was stopped then." }, false},
		{"a number that the source has elsewhere", fact, func(s *Suggestion) { s.Replacement = "It was stopped on 3 May 2026." }, false},
		{"a fact called clarity", good, func(s *Suggestion) { s.Replacement = "It was stopped at 17:45." }, false},
		{"a fact called clarity, with its source", fact, func(s *Suggestion) { s.Kind = Clarity }, true},
		{"a number of the content", good, func(s *Suggestion) { s.Replacement = "It was stopped after 12 hours." }, true},
		{"a part of a number", good, func(s *Suggestion) { s.Replacement = "It was stopped after 1 hour." }, false},

		{"a link of the content", good, func(s *Suggestion) { s.Replacement = "[Stopped](https://example.org/log)." }, true},
		{"a new link", good, func(s *Suggestion) { s.Replacement = "[Stopped](https://evil.example/log)." }, false},
		{"a new picture", good, func(s *Suggestion) { s.Replacement = "![](//evil.example/log?q=pump)" }, false},
		{"a new address", good, func(s *Suggestion) { s.Replacement = "See www.evil.example." }, false},
		{"a new relative link", good, func(s *Suggestion) { s.Replacement = "[Stopped](evil)." }, false},
		{"a new script", good, func(s *Suggestion) { s.Replacement = `<a href="JavaScript:alert()">x</a>` }, false},
		{"a new definition", good, func(s *Suggestion) { s.Replacement = "[Stopped][1a]\n\n[1a]: evil" }, false},
		{"a link of the quoted source", fact, func(s *Suggestion) {
			s.Replacement, s.Source = "It was stopped, see https://example.org/pump/7", "Details: https://example.org/pump/7"
		}, true},
		{"a link of the source, not quoted", fact, func(s *Suggestion) { s.Replacement = "It was stopped, see https://example.org/pump/" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.from
			tt.change(&s)
			if got := newChecker(content, source).holds(s); got != tt.want {
				t.Errorf("holds is %v for %+v", got, s)
			}
		})
	}
	t.Run("without a source", func(t *testing.T) {
		if newChecker(content, "").holds(fact) {
			t.Error("a fact was taken")
		}
		if !newChecker(content, "").holds(good) {
			t.Error("what is no fact was not taken")
		}
	})
	t.Run("the longest quote", func(t *testing.T) {
		s := good
		for n, want := range map[int]bool{MaxQuote: true, MaxQuote + 1: false} {
			s.Quote = strings.Repeat("é", n)
			if newChecker(s.Quote+".", "").holds(s) != want {
				t.Errorf("of %d characters: %v", n, !want)
			}
		}
	})
}

func TestOccurrences(t *testing.T) {
	for _, tt := range []struct {
		text, quote string
		want        int
	}{
		{"abc", "b", 1},
		{"abc", "abc", 1},
		{"abc", "d", 0},
		{"abc", "", 0},
		{"", "a", 0},
		{"abab", "ab", 2},
		{"aaa", "aa", 2},
		{"ébé", "é", 2},
		{"ééé", "éé", 2},
		{"xxxx", "x", 2},
	} {
		if got := Occurrences(tt.text, tt.quote); got != tt.want {
			t.Errorf("%q in %q: %d, want %d", tt.quote, tt.text, got, tt.want)
		}
	}
}

func TestVerifyCounts(t *testing.T) {
	text := strings.Builder{}
	var items []json.RawMessage
	for i := range MaxSuggestions + 1 {
		word := strings.Repeat("x", i) + "y"
		text.WriteString("<" + word + ">")
		item, err := json.Marshal(Suggestion{Clarity, "<" + word + ">", "z", "r", ""})
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	taken, dropped := verify(items[:MaxSuggestions], text.String(), "")
	if len(taken) != MaxSuggestions || dropped != 0 {
		t.Errorf("took %d, dropped %d", len(taken), dropped)
	}
	taken, dropped = verify(items, text.String(), "")
	if len(taken) != MaxSuggestions || dropped != 1 {
		t.Errorf("of one more, took %d, dropped %d", len(taken), dropped)
	}
	bad := append([]json.RawMessage{
		[]byte(`"text"`), []byte(`{"kind":5}`), []byte(`null`), []byte(`[]`), items[0], items[0],
	}, items[1])
	taken, dropped = verify(bad, text.String(), "")
	if len(taken) != 2 || dropped != 5 {
		t.Errorf("took %+v, dropped %d", taken, dropped)
	}
}

// FuzzVerify holds what is taken, from whatever a model says about whatever text.
func FuzzVerify(f *testing.F) {
	f.Add(content, source, `{"suggestions":[{"kind":"CLARITY","quote":"It was stopped then.","replacement":"x","reason":"y","source":""}]}`)
	f.Add("aaa", "", `{"suggestions":[{"kind":"FACT","quote":"aa","replacement":"1","reason":"y","source":"aaaaaaaa"}]}`)
	f.Add("", "", "```\n{\"suggestions\":[null,{}]}")
	f.Fuzz(func(t *testing.T, content, source, answer string) {
		items, err := parse(answer)
		if err != nil {
			return
		}
		taken, dropped := verify(items, content, source)
		if len(taken)+dropped != len(items) || len(taken) > MaxSuggestions {
			t.Fatalf("%d taken and %d dropped of %d", len(taken), dropped, len(items))
		}
		for _, s := range taken {
			before, after, found := strings.Cut(content, s.Quote)
			if !found || before+s.Quote+after != content || strings.Contains(after, s.Quote) || !strings.Contains(source, s.Source) {
				t.Fatalf("took %+v", s)
			}
			if s.Kind == Fact && s.Source == "" {
				t.Fatalf("took a fact without a source: %+v", s)
			}
		}
	})
}
