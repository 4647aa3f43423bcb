package fakeprovider_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sealpost/assist"
	"sealpost/assist/fakeprovider"
	"sealpost/config"
	"sealpost/fault"
)

func start(t *testing.T) (*fakeprovider.Server, *assist.Assistant) {
	t.Helper()
	s, err := fakeprovider.Start(t.Context(), "fake-key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, assist.New(assist.Options{APIKey: config.NewSecret([]byte("fake-key")), BaseURL: s.URL, Model: fakeprovider.Model})
}

func TestCompose(t *testing.T) {
	_, a := start(t)
	for range 2 { // it is always the same
		pieces := 0
		got, err := a.Compose(t.Context(), assist.ComposeRequest{Title: "T", Content: "# Minutes\n\nAll agreed.\n", Instructions: "Go on."},
			func(string) error { pieces++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if want := "# Minutes\n\nAll agreed.\n\n" + fakeprovider.Paragraph + "\n"; got.Text != want || pieces < 5 {
			t.Errorf("got %q in %d pieces", got.Text, pieces)
		}
		if got.Trace.Model != fakeprovider.Model || got.Trace.OutputTokens == 0 {
			t.Errorf("the trace is %+v", got.Trace)
		}
	}
	got, err := a.Compose(t.Context(), assist.ComposeRequest{Title: "T", Instructions: "Begin."}, nil)
	if err != nil || got.Text != fakeprovider.Paragraph+"\n" {
		t.Errorf("of nothing it makes %q, %v", got.Text, err)
	}
	if !strings.Contains(fakeprovider.Paragraph, "Fake") || !strings.Contains(fakeprovider.Reason, "fake") {
		t.Error("it does not say that it is fake")
	}
}

// TestSuggest has what the fake says pass the checks of what a model says, but for the one suggestion
// that is there to be dropped.
func TestSuggest(t *testing.T) {
	_, a := start(t)
	r := assist.SuggestRequest{Title: "T", Content: "# Minutes\n\nAll of them agreed. Nobody was against it.\nThe pump ran. The pump ran."}
	got, err := a.Suggest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Suggestions) != 2 || got.Dropped != 1 || got.Suggestions[0].Quote != "All of them agreed." || got.Suggestions[0].Kind != assist.Clarity {
		t.Errorf("got %+v", got)
	}
	r.Source = "Protocol of the day: They met at 14:30 in Bonn. Ann was there."
	got, err = a.Suggest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if first := got.Suggestions[0]; first.Kind != assist.Fact || first.Source == "" || !strings.Contains(first.Replacement, "14:30") || got.Dropped != 1 {
		t.Errorf("with a source got %+v", got)
	}
	got, err = a.Suggest(t.Context(), assist.SuggestRequest{Title: "T", Content: "nothing that is a sentence"})
	if err != nil || len(got.Suggestions) != 0 || got.Dropped != 1 {
		t.Errorf("of no sentence got %+v, %v", got, err)
	}
}

func TestRefuses(t *testing.T) {
	s, a := start(t)
	a.UseKey(config.NewSecret([]byte("another")))
	if _, err := a.Compose(t.Context(), assist.ComposeRequest{Instructions: "x"}, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with another key: %v", err)
	}
	for _, body := range []string{"", "{", "{}", `{"stream":true}`, `{"messages":[{"role":"user","content":"x"}]}`} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer fake-key")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 400 || !strings.Contains(string(text), `"error"`) {
			t.Errorf("%q: status %d: %s", body, res.StatusCode, text)
		}
	}
}
