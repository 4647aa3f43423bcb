package assist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// prompts are all versions that there have been, with the hash of their words. A trace names a version,
// so one that was used must mean the same forever: change the words and this test fails, until there is
// a new version with a line of its own here. Old lines stay.
var prompts = map[string]string{
	"compose-2026-11-1": "9579667547f04f49a91b5c6bec4a8209587d41b1f44ed8675113cdbd80b3bd7d",
	"suggest-2026-11-1": "0f13d7e7f1ff9d2ea2c03905e204aa078564ae1e5603a210399c3e6e5701a195",
}

func TestPromptVersions(t *testing.T) {
	for _, p := range []prompt{composing, suggesting} {
		schema, err := json.Marshal(p.schema)
		if err != nil {
			t.Fatal(err)
		}
		form := message("mark", section{"TITLE", "t"}, section{"CONTENT", "c"})
		sum := sha256.Sum256([]byte(p.system + "\x00" + form + "\x00" + string(schema)))
		if got := hex.EncodeToString(sum[:]); prompts[p.version] != got {
			t.Errorf("the words of %s have the hash %s, which is not the one of that version: give them a new version", p.version, got)
		}
		if !strings.HasPrefix(p.version, strings.ToLower(string(p.purpose))+"-") {
			t.Errorf("%s is a version of %s", p.version, p.purpose)
		}
	}
}

// TestPromptsSayTheLimits holds the prompts to what verify holds answers to.
func TestPromptsSayTheLimits(t *testing.T) {
	for _, want := range append([]string{"at most 20 suggestions", "at most 2000 characters", "at least 8 characters", "JSON"}, kinds...) {
		if !strings.Contains(suggesting.system, want) {
			t.Errorf("the prompt does not say %q", want)
		}
	}
	if MaxSuggestions != 20 || MaxQuote != 2000 || minSource != 8 {
		t.Error("the prompt says other limits")
	}
}
