package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCanonicalForm(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.FixedZone("", 3600))
	got, err := Canonical{
		ID: "d", AuthorID: "a", AuthorEmail: "a@example.org", Revision: 12,
		Text:      Text{Title: `"Q" \ é`, Content: "# <b>&\u2028\n\t\r\b\f\x01\x1f\x7f😀/"},
		CreatedAt: at, FinalizedAt: at.Add(time.Hour), Salt: [16]byte{1, 2, 3},
	}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"author":{"email":"a@example.org","id":"a"},` +
		`"content":"# <b>&` + "\u2028" + `\n\t\r\b\f\u0001\u001f` + "\x7f" + `😀/",` +
		`"createdAt":"2026-03-04T04:06:07.000089Z","finalizedAt":"2026-03-04T05:06:07.000089Z",` +
		`"format":"sealpost-document-v1","id":"d","revision":12,"salt":"AQIDAAAAAAAAAAAAAAAAAA==","title":"\"Q\" \\ é"}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := (Canonical{Text: Text{Content: "\xff"}}).Bytes(); err == nil {
		t.Error("a text that is not UTF-8 has got a canonical form")
	}
}

// randomText has much of what JSON escapes, and of what it does not.
var randomText = rapid.OneOf(
	rapid.StringOfN(rapid.RuneFrom([]rune{'a', '"', '\\', '/', '<', '&', 0, 1, 7, 8, 9, 10, 12, 13, 0x1f, 0x7f, 0x85, 0x2028, 0xfffd, 0x1f600}), 0, 20, -1),
	rapid.String().Filter(utf8.ValidString),
)

var randomCanonical = rapid.Custom(func(t *rapid.T) Canonical {
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "micros")).UTC()
	})
	c := Canonical{
		ID:          randomText.Draw(t, "id"),
		AuthorID:    randomText.Draw(t, "author"),
		AuthorEmail: randomText.Draw(t, "email"),
		Revision:    rapid.Int64Range(1, 1<<50).Draw(t, "revision"),
		Text:        Text{randomText.Draw(t, "title"), randomText.Draw(t, "content")},
		CreatedAt:   at.Draw(t, "created"),
		FinalizedAt: at.Draw(t, "finalized"),
	}
	copy(c.Salt[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "salt"))
	return c
})

// The same document gives the same bytes, different ones give different bytes, and the bytes can be
// read back as JSON: so a signature of the bytes is one of the document.
func TestCanonicalBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomCanonical.Draw(t, "a")
		b := a
		switch rapid.IntRange(0, 8).Draw(t, "change") { // a neighbour, or one that has nothing to do with it
		case 0:
			b.Text.Title, b.Text.Content = a.Text.Content, a.Text.Title
		case 1:
			b.Text.Content += randomText.Draw(t, "more")
		case 2:
			b.Revision++
		case 3:
			b.CreatedAt, b.FinalizedAt = a.FinalizedAt, a.CreatedAt
		case 4:
			b.AuthorEmail, b.AuthorID = a.AuthorID, a.AuthorEmail
		case 5:
			b.FinalizedAt = b.FinalizedAt.Add(time.Microsecond)
		case 6:
			b.Salt[rapid.IntRange(0, 15).Draw(t, "byte")] ^= 1
		case 7:
			b = randomCanonical.Draw(t, "b")
		}
		bytesA, err := a.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		bytesB, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(bytesA, bytesB); same != reflect.DeepEqual(a, b) {
			t.Fatalf("same bytes: %v\n%+v\n%+v", same, a, b)
		}
		if got := parseCanonical(t, bytesA); !reflect.DeepEqual(got, a) {
			t.Fatalf("read back as\n%+v\nnot\n%+v", got, a)
		}
	})
}

// parseCanonical reads the bytes with a JSON parser that knows nothing of how they were written.
func parseCanonical(t *rapid.T, b []byte) Canonical {
	var v struct {
		Author                 struct{ Email, ID string }
		Content, ID, Title     string
		CreatedAt, FinalizedAt time.Time
		Format                 string
		Revision               int64
		Salt                   []byte
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if v.Format != format {
		t.Fatalf("the format is %q", v.Format)
	}
	return Canonical{
		ID: v.ID, AuthorID: v.Author.ID, AuthorEmail: v.Author.Email, Revision: v.Revision, Text: Text{v.Title, v.Content},
		CreatedAt: v.CreatedAt, FinalizedAt: v.FinalizedAt, Salt: [16]byte(v.Salt),
	}
}

// Python's json makes the same bytes again, as the documentation of Bytes says: a receiver in another
// language can check the hash without keeping our bytes.
func TestCanonicalBytesInPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the second opinion needs python3, which every Debian has (apt-get install python3)")
	}
	const program = `
import base64, json, sys
for line in sys.stdin:
    document = json.loads(base64.b64decode(line))
    again = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    print(base64.b64encode(again.encode()).decode())
`
	var in, want strings.Builder
	for seed := range 200 {
		b, err := randomCanonical.Example(seed).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		line := base64.StdEncoding.EncodeToString(b) + "\n"
		in.WriteString(line)
		want.WriteString(line)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", program)
	cmd.Stdin = strings.NewReader(in.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if string(got) != want.String() {
		t.Error("Python makes other bytes of the same documents")
	}
}
