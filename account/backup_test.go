package account

import (
	"regexp"
	"strings"
	"testing"
)

func TestBackupCodesAreReadable(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{6}(-[0-9a-hjkmnp-tv-z]{6}){3}$`)
	seen := map[string]bool{}
	for range 1000 {
		code := newBackupCode()
		if !form.MatchString(code) || seen[code] {
			t.Fatalf("%q is not of the form, or twice", code)
		}
		seen[code] = true
	}
}

func TestNormalizeBackupCode(t *testing.T) {
	for _, tt := range []struct {
		text, want string
		ok         bool
	}{
		{"abcdef-ghjkmn-pqrstv-wxyz01", "abcdefghjkmnpqrstvwxyz01", true},
		{"ABCDEF GHJKMN PQRSTV WXYZ01", "abcdefghjkmnpqrstvwxyz01", true},
		{"abcdefghjkmnpqrstvwxyz01", "abcdefghjkmnpqrstvwxyz01", true},
		{" abcdef-ghjkmn-pqrstv-wxyz01 ", "abcdefghjkmnpqrstvwxyz01", true},
		{"iIlLoO-001122-abcdef-ghjkmn", "111100001122abcdefghjkmn", true},
		{"abcdef-ghjkmn-pqrstv-wxyz0", "", false},
		{"abcdef-ghjkmn-pqrstv-wxyz012", "", false},
		{"abcdef-ghjkmn-pqrstv-wxyz0u", "", false},
		{"abcdef_ghjkmn_pqrstv_wxyz01", "", false},
		{"", "", false},
		{strings.Repeat("-", 50) + "abcdefghjkmnpqrstvwxyz01", "", false},
	} {
		got, ok := normalizeBackupCode(tt.text)
		if ok != tt.ok || (ok && got != tt.want) {
			t.Errorf("normalizeBackupCode(%q) = %q, %v", tt.text, got, ok)
		}
	}
}

// Two users who had the same code could not be told from the table.
func TestBackupCodeHashIsTheUsers(t *testing.T) {
	if string(hashBackupCode("a", "abcde")) == string(hashBackupCode("b", "abcde")) {
		t.Error("the hash does not depend on the user")
	}
}

func FuzzNormalizeBackupCode(f *testing.F) {
	for _, seed := range []string{"abcdef-ghjkmn-pqrstv-wxyz01", "ABCDEF GHJKMN PQRSTV WXYZ01", "ilo", "\xff", "ſſſſſ-ſſſſſ-ſſſſſ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := normalizeBackupCode(text)
		if !ok {
			return
		}
		if again, ok := normalizeBackupCode(got); !ok || again != got || len(got) != backupLength || strings.Trim(got, backupAlphabet) != "" {
			t.Errorf("%q becomes %q, and then %q", text, got, again)
		}
	})
}
