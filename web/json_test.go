package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	members := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":%d,`, i, i)
		}
		return "{" + b.String() + last + "}"
	}
	for _, tt := range []struct{ text, wrong string }{
		{`{}`, ""},
		{`[]`, ""},
		{`""`, ""},
		{`0`, ""},
		{`-0`, ""},
		{`null`, ""},
		{`true`, ""},
		{`false`, ""},
		{" \t\r\n{ \"a\" : [ 1 , 2.5 , -1e9 , 1E+2, 0.1e-7 ] } \n", ""},
		{`{"a":{"b":1},"b":{"a":1}}`, ""},
		{`[{"a":1},{"a":1}]`, ""},
		{`{"a":1,"A":2}`, ""},
		{`"\"\\\/\b\f\n\r\té😀"`, ""},
		{`"é€😀"`, ""},
		{deep(64), ""},
		{members(40, `"x":1`), ""},

		{``, "ends too early"},
		{` `, "ends too early"},
		{`{`, "lacks a member's name"},
		{`[`, "ends too early"},
		{`[1`, "lacks a comma"},
		{`{"a":1`, "lacks a comma"},
		{`{"a"`, "lacks a colon"},
		{`{"a":`, "ends too early"},
		{`[1,]`, "no JSON value"},
		{`{"a":1,}`, "lacks a member's name"},
		{`{a:1}`, "lacks a member's name"},
		{`'a'`, "no JSON value"},
		{`nul`, "no JSON value"},
		{`nulL`, "no JSON value"},
		{`True`, "no JSON value"},
		{`NaN`, "no JSON value"},
		{`Infinity`, "no JSON value"},
		{`-Infinity`, "no JSON number"},
		{`01`, "behind"},
		{`-`, "no JSON number"},
		{`1.`, "no JSON number"},
		{`.5`, "no JSON value"},
		{`1e`, "no JSON number"},
		{`1e+`, "no JSON number"},
		{`+1`, "no JSON value"},
		{`0x10`, "behind"},
		{`{} {}`, "behind"},
		{`{}x`, "behind"},
		{"{}\x00", "behind"},
		{`[]]`, "behind"},
		{"\xef\xbb\xbf{}", "no JSON value"},
		{`"abc`, "lacks its end"},
		{`"\`, "escape"},
		{`"\x"`, "escape"},
		{`"\u12"`, "escape"},
		{`"\u12g4"`, "escape"},
		{"\"a\nb\"", "control character"},
		{"\"\x00\"", "control character"},
		{"\"\x7f\"", ""},
		{`"\u0000"`, "NUL"},
		{`{"\u0000":1}`, "NUL"},
		{`"\u0001"`, ""},
		{"\"\xff\"", "UTF-8"},
		{"\"\xc0\x80\"", "UTF-8"},
		{"\"\xed\xa0\x80\"", "UTF-8"},
		{"\"\xe2\x82\"", "UTF-8"},
		{"\"\xef\xbf\xbd\"", ""}, // U+FFFD itself is text
		{`"\ud83d"`, "surrogate"},
		{`"\ude00"`, "surrogate"},
		{`"\ud83dx"`, "surrogate"},
		{`"\ud83d\u0041"`, "surrogate"},
		{`"\ude00\ud83d"`, "surrogate"},
		{`"\ud83d\n"`, "surrogate"},
		{`{"a":1,"a":1}`, "twice"},
		{`{"a":{"b":1,"c":2,"b":3}}`, "twice"},
		{`[{"a":[{"x":1,"x":2}]}]`, "twice"},
		{`{"a":1,"\u0061":2}`, "twice"},
		{`{"\u0061":1,"a":2}`, "twice"},
		{`{"é":1,"\u00e9":2}`, "twice"},
		{`{"😀":1,"\ud83d\ude00":2}`, "twice"},
		{`{"":1,"":2}`, "twice"},
		{`{"a":{"x":1},"b":2,"a":3}`, "twice"},
		{`1e308`, ""},
		{`1e309`, "out of range"},
		{`-1e309`, "out of range"},
		{`1e-999`, ""},
		{"[" + strings.Repeat("1,", maxValues-2) + "1]", ""},
		{"[" + strings.Repeat("1,", maxValues-1) + "1]", "100000 values"},
		{members(40, `"k39":1`), "twice"},
		{members(40, `"k0":1`), "twice"},
		{deep(65), "64 levels"},
		{strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), "64 levels"},
		{strings.Repeat("[", 1<<20), "64 levels"},
	} {
		v, err := parseJSON([]byte(tt.text))
		name := tt.text[:min(len(tt.text), 60)]
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%q is refused: %v", name, err)
		case tt.wrong != "" && err == nil:
			t.Errorf("%q is taken, want an error with %q", name, tt.wrong)
		case tt.wrong != "" && !strings.Contains(err.Error(), tt.wrong):
			t.Errorf("%q: %v, want an error with %q", name, err, tt.wrong)
		}
		var want any
		if tt.wrong == "" && json.Unmarshal([]byte(tt.text), &want) == nil && !reflect.DeepEqual(v, want) {
			t.Errorf("%q is %#v, want %#v", name, v, want)
		}
	}
}

func TestErrorsOfJSONShowNoValue(t *testing.T) {
	for _, text := range []string{
		`{"password":"hunter2","password":"hunter2"}`, `{"password":hunter2}`, `{"password":"hunter2\u0000"}`,
		`{"password":"hunter2"} hunter2`, "{\"password\":\"hunter2\xff\"}", `{"when":"hunter2"}`, `{"count":4711e999}`,
		`{"count":47110815000}`, `{"name":["hunter2"]}`,
	} {
		var parsed any
		var typed echoBody
		for _, err := range []error{unmarshal([]byte(text), &parsed), unmarshal([]byte(text), &typed)} {
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "4711")) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// FuzzParseJSON holds parseJSON against encoding/json: what it takes, that takes too, and it means
// the same with each name once.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[true,false,null],"c":{"d":"\u00e9\ud83d\ude00"}}`, `{"a":1,"\u0061":2}`, `[[[]]]`, `"\ud800"`, `1e9`, ` {} `,
		`{"k0":0,"k1":1,"k2":2,"k3":3,"k4":4,"k5":5,"k6":6,"k7":7,"k8":8,"k9":9,"ka":1,"kb":1,"kc":1,"kd":1,"ke":1,"kf":1,"kg":1,"kf":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseJSON(text)
		var want any
		plain := json.Unmarshal(text, &want) == nil && utf8.Valid(text) && !refusedForMore(text)
		switch {
		case plain && err != nil:
			t.Fatalf("%q is refused: %v", text, err)
		case !plain && err == nil:
			t.Fatalf("%q is taken", text)
		case plain && !reflect.DeepEqual(got, want):
			t.Fatalf("%q is %#v, want %#v", text, got, want)
		}
	})
}

// refusedForMore tells by encoding/json's tokens whether a valid text is one that parseJSON refuses
// all the same: another way to the same verdict.
func refusedForMore(text []byte) bool {
	type level struct {
		object bool
		names  map[string]bool
		tokens int
	}
	var open []*level
	bad := func(s string) bool { return strings.ContainsRune(s, 0) }
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		var top *level
		if len(open) > 0 {
			top = open[len(open)-1]
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if s, ok := token.(string); ok {
			if bad(s) {
				return true
			}
			if top != nil && top.object && top.tokens%2 == 0 {
				if top.names[s] {
					return true
				}
				top.names[s] = true
			}
		}
		if top != nil {
			top.tokens++
		}
		if token == json.Delim('{') || token == json.Delim('[') {
			open = append(open, &level{object: token == json.Delim('{'), names: map[string]bool{}})
			if len(open) > maxDepth {
				return true
			}
		}
	}
	// encoding/json makes U+FFFD of half a surrogate pair; one that was not there before tells.
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return false
	}
	again, err := json.Marshal(v)
	return err == nil && strings.Count(strings.ToLower(string(again)), "\ufffd")+strings.Count(strings.ToLower(string(again)), `\ufffd`) > 0 &&
		!strings.Contains(string(text), "\ufffd") && !strings.Contains(strings.ToLower(string(text)), `\ufffd`)
}

func BenchmarkParseJSON(b *testing.B) {
	text := jobBody()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseJSON(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalTwice(b *testing.B) {
	text := jobBody()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var parsed any
		var typed struct {
			EndpointID, ContentType, Payload string
		}
		if err := unmarshal(text, &parsed); err != nil {
			b.Fatal(err)
		}
		if err := unmarshal(text, &typed); err != nil {
			b.Fatal(err)
		}
	}
}

// jobBody is the body of a POST /api/dispatch/jobs with a payload of 1 KiB.
func jobBody() []byte {
	text, _ := json.Marshal(map[string]any{
		"endpointId": "01890a5d-ac96-774b-bcce-b302099a8057", "contentType": "application/json",
		"payload": strings.Repeat(`{"patient":"x"} `, 64),
	})
	return text
}
