package account

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"
)

func codes(issues []Issue) []string {
	var out []string
	for _, i := range issues {
		out = append(out, i.Code)
	}
	return out
}

func TestPasswordPolicy(t *testing.T) {
	filler := strings.Repeat("kW4-tzPu9!", 13)
	for _, tt := range []struct {
		name, password string
		want           []string
	}{
		{"good", "vK8#qLw2!nPz", nil},
		{"everything at once", " ", []string{TooShort, MissingUppercase, MissingLowercase, MissingNumber, MissingSymbol, ContainsWhitespace, WeakPattern}},
		{"empty", "", []string{TooShort, MissingUppercase, MissingLowercase, MissingNumber, MissingSymbol, WeakPattern}},
		{"11 characters", "vK8#qLw2!nP", []string{TooShort}},
		{"12 code points of more bytes", "vK8#qLw2!nPß", nil},
		{"12 code points that are 11 composed", "vK8#qLw2!nu\u0308", []string{TooShort}},
		{"128 characters", filler[:128], nil},
		{"129 characters", filler[:129], []string{TooLong}},
		{"no uppercase", "vk8#qlw2!npz", []string{MissingUppercase}},
		{"no lowercase", "VK8#QLW2!NPZ", []string{MissingLowercase}},
		{"no number", "vKx#qLwy!nPz", []string{MissingNumber}},
		{"no symbol", "vK8xqLw2ynPz", []string{MissingSymbol}},
		{"letters of other scripts", "Жук8#лампа!Тень", nil},
		{"a script without case", "漢字かな8#漢字かなもじ", []string{MissingUppercase, MissingLowercase}},
		{"an emoji is a symbol", "vK8🦊qLw2ynPz", nil},
		{"space", "vK8# qLw2!nPz", []string{ContainsWhitespace}},
		{"no-break space", "vK8#\u00a0qLw2!nPz", []string{ContainsWhitespace}},
		{"tab", "vK8#\tqLw2!nPz", []string{ContainsWhitespace}},
		{"ideographic space", "vK8#\u3000qLw2!nPz", []string{ContainsWhitespace}},
		{"NUL", "vK8#\x00qLw2!nPz", []string{InvalidCharacter}},
		{"damaged", "vK8#\ufffdqLw2!nPz", []string{InvalidCharacter}},
		{"not UTF-8", "vK8#\xffqLw2!nPz", []string{InvalidCharacter}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issues := CheckPassword(tt.password, 12)
			if got := codes(issues); !slices.Equal(got, tt.want) {
				t.Errorf("CheckPassword(%q) = %v, want %v", tt.password, got, tt.want)
			}
			for _, i := range issues {
				if i.Message == "" {
					t.Errorf("%s has no message", i.Code)
				}
			}
		})
	}
}

func TestMinLengthIsTheOneThatIsSet(t *testing.T) {
	if got := codes(CheckPassword("vK8#qLw2", 8)); got != nil {
		t.Errorf("8 of 8 characters: %v", got)
	}
	if got := codes(CheckPassword("vK8#qLw2!nPz", 13)); !slices.Equal(got, []string{TooShort}) {
		t.Errorf("12 of 13 characters: %v", got)
	}
}

func TestWeakPatterns(t *testing.T) {
	weak := []string{
		"Admin123456!", "Summer2026!!", "Passw0rd!Passw0rd", "Qwerty123456!",
		"P@55w0rd2024!", "Pa$$w0rd1234", "Drowssap1234!", "Welcome@12345", "Letmein!2345", "Trustno1!!!!", "Iloveyou1234!",
		"PasswordAdmin1!", "Welcome-Summer-2026!", "Passwort1234!", "Sommer2026!!!", "Azerty12345!", "Qwertz12345!",
		"1qaz@WSX3edc", "Zaq12wsx!QAZ", "Qazwsx123!@#", "Asdf1234!@#$", "!@#$%^QWErty1", "Abcd1234!@#$", "Abcdefg1234!", "Zyxwv98765!a",
		"Aaaaaaaa1111!", "Aa1!Aa1!Aa1!", "AbAbAbAb1212!", "Test1234test!", "Changeme2025!", "January2026!", "Monday12345!",
		"Sealpost2026!", "Pässwörd1234!", "Superman123!", "Secret123456!", "Hello12345678!", "Football24121987!",
	}
	good := []string{
		"vK8#qLw2!nPz", "Correct-Horse7-Battery", "Tr4velling-Lynx-88", "Blue7!Kettle-Moth", "Zebra!Quilt9Lamp", "Sturdy-Oak-91-Harbor",
		"MyPassword-kX9!vQ2z", "Dragon-Monkey-Football-Sunshine9", "Жук8#лампа!Тень", "Vexing#Plum3Gravel", "mango.Trellis.47", "kite%River5boat",
		"Qv7!Qv8!Rw9?Sx1", "Nine-9-otters-swim", "WhyIs?My3rdCupCold",
	}
	for _, p := range weak {
		if got := codes(CheckPassword(p, 12)); !slices.Contains(got, WeakPattern) {
			t.Errorf("%q is accepted: %v", p, got)
		}
	}
	for _, p := range good {
		if got := codes(CheckPassword(p, 12)); got != nil {
			t.Errorf("%q is refused: %v", p, got)
		}
	}
}

func TestOwnNameAndAddress(t *testing.T) {
	own := []string{"Ada K. Lovelace", "ada.byron+pilot@crane.example"}
	for _, tt := range []struct {
		password string
		weak     bool
	}{
		{"Lovelace-kX9!vQ2z", true},
		{"kX9!L0v3l@ce-vQ2z", true},
		{"Byron#kX9!vQ2zWt", true},
		{"nORYb#kX9!vQ2zWt", true}, // backwards
		{"Ada-Crane-2026!!", true}, // short or foreign parts count as common words
		{"Ada-kX9!vQ2zWtpR", false},
		{"Crane-kX9!vQ2zWt", false},
		{"vK8#qLw2!nPz", false},
	} {
		if got := isWeak(tt.password, own); got != tt.weak {
			t.Errorf("isWeak(%q) of %v = %v", tt.password, own, got)
		}
	}
	if isWeak("Lovelace-kX9!vQ2z", nil) {
		t.Error("another person's name is refused")
	}
}

// The longest request body is a mebibyte; a password of that size is refused and costs next to nothing.
func TestPolicyIsFastOnLongInput(t *testing.T) {
	for _, unit := range []string{"a", "qwerty", "u\u0308\u0301\u0302", "aA1!"} {
		text := strings.Repeat(unit, (1<<20)/len(unit))
		start := time.Now()
		if got := codes(CheckPassword(text, 12, "Ada Lovelace", adminEmail)); !slices.Contains(got, TooLong) {
			t.Errorf("%d bytes of %q: %v", len(text), unit, got)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%d bytes of %q took %s", len(text), unit, took)
		}
	}
}

// What is longer than any password can be is refused before any work: no hash is computed.
func TestLongPasswordsCostNothing(t *testing.T) {
	h := newHasher(currentParams, 1)
	release, err := h.take(t.Context()) // there is no slot to hash in
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if ok, err := h.verify(t.Context(), "", strings.Repeat("x", 10_000)); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := h.verify(t.Context(), "", strings.Repeat("x", maxPasswordBytes+1)); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	// No 128 characters of NFC, however they were typed, come near that.
	widest := strings.Repeat("\u1f82", MaxPasswordLength) // four characters of NFD each
	if n := len(norm.NFD.String(widest)); n > maxPasswordBytes {
		t.Errorf("%d bytes", n)
	}
}

// The worst that a password within the limits can cost, beside the 25 ms of its hash.
func BenchmarkCheckPassword(b *testing.B) {
	commonRanks()
	for _, unit := range []string{"aA1!", "password1!A", "1!|0@", "qwertyQWERTY!2", "kW4-tzPu9!"} {
		text := strings.Repeat(unit, MaxPasswordLength)[:MaxPasswordLength]
		b.Run(unit, func(b *testing.B) {
			for b.Loop() {
				CheckPassword(text, 12, "Ada Lovelace", adminEmail)
			}
		})
	}
}

func TestWordListIsPlain(t *testing.T) {
	seen := map[string]bool{}
	for _, word := range commonWords() {
		text := string(word)
		if len(word) < 4 || text != string(plain(text)) || seen[text] {
			t.Errorf("%q is short, not in plain form, or twice", text)
		}
		seen[text] = true
	}
	if len(seen) < 300 {
		t.Errorf("only %d words", len(seen))
	}
}

func FuzzCheckPassword(f *testing.F) {
	for _, seed := range []string{"", "Admin123456!", "vK8#qLw2!nPz", "\xff\x00", "u\u0308"} {
		f.Add(seed, "Ada", "ada@example.com")
	}
	f.Fuzz(func(t *testing.T, password, name, address string) {
		again := codes(CheckPassword(password, 12, name, address))
		if got := codes(CheckPassword(password, 12, name, address)); !slices.Equal(got, again) {
			t.Errorf("%q: %v and then %v", password, got, again)
		}
	})
}
