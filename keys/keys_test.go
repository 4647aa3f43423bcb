package keys_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sealpost/keys"
)

func secret(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

func ring(t *testing.T, fill byte) (*keys.Ring, *keys.Key) {
	t.Helper()
	key := keys.NewKey(keys.NewID(), secret(fill))
	return keys.NewRing(key, nil), key
}

func encrypt(t *testing.T, r *keys.Ring, p keys.Purpose, place string, value []byte) []byte {
	t.Helper()
	box, err := r.Encrypt(p, place, value)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestRoundTrip(t *testing.T) {
	r, _ := ring(t, 1)
	for _, value := range [][]byte{nil, {}, {0}, []byte("JBSWY3DPEHPK3PXP"), bytes.Repeat([]byte("payload "), 1<<17)} {
		box := encrypt(t, r, keys.JobPayload, "job-1", value)
		if got, err := r.Decrypt(keys.JobPayload, "job-1", box); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes came back as %d: %v", len(value), len(got), err)
		}
		if len(value) > 8 && bytes.Contains(box, value[:8]) {
			t.Error("the value is in clear in the box")
		}
		if bytes.Equal(box, encrypt(t, r, keys.JobPayload, "job-1", value)) {
			t.Error("the same value gives the same box twice: its nonce is not random")
		}
	}
}

// The form is what DESIGN says: a reader of a dump can tell which key is needed.
func TestBoxNamesItsKey(t *testing.T) {
	r, key := ring(t, 1)
	box := encrypt(t, r, keys.JobPayload, "", []byte("12345"))
	if box[0] != 1 || hex.EncodeToString(box[1:1+keys.IDBytes]) != key.ID {
		t.Errorf("the box starts with %x, its key is %s", box[:9], key.ID)
	}
	if len(box) != 1+8+24+5+16 {
		t.Errorf("a box of 5 bytes has %d", len(box))
	}
}

func TestDecryptOnlyWhatWasEncryptedHere(t *testing.T) {
	r, key := ring(t, 1)
	box := encrypt(t, r, keys.TOTPSecret, "user-1", []byte("a secret"))
	other, _ := ring(t, 1) // the same secret under another id
	sameID := keys.NewRing(keys.NewKey(key.ID, secret(2)), nil)
	for what, decrypt := range map[string]func() ([]byte, error){
		"another place":         func() ([]byte, error) { return r.Decrypt(keys.TOTPSecret, "user-2", box) },
		"no place":              func() ([]byte, error) { return r.Decrypt(keys.TOTPSecret, "", box) },
		"another purpose":       func() ([]byte, error) { return r.Decrypt(keys.JobPayload, "user-1", box) },
		"a key of another id":   func() ([]byte, error) { return other.Decrypt(keys.TOTPSecret, "user-1", box) },
		"another key of the id": func() ([]byte, error) { return sameID.Decrypt(keys.TOTPSecret, "user-1", box) },
		"a ring without a key":  func() ([]byte, error) { return keys.NewRing(nil, nil).Decrypt(keys.TOTPSecret, "user-1", box) },
		"nothing":               func() ([]byte, error) { return r.Decrypt(keys.TOTPSecret, "user-1", nil) },
		"one byte more":         func() ([]byte, error) { return r.Decrypt(keys.TOTPSecret, "user-1", append(bytes.Clone(box), 0)) },
		"two boxes":             func() ([]byte, error) { return r.Decrypt(keys.TOTPSecret, "user-1", append(bytes.Clone(box), box...)) },
		"clear text of that length": func() ([]byte, error) {
			return r.Decrypt(keys.TOTPSecret, "user-1", bytes.Repeat([]byte{'x'}, len(box)))
		},
	} {
		if value, err := decrypt(); !errors.Is(err, keys.ErrCannotDecrypt) || value != nil {
			t.Errorf("%s: %q, %v", what, value, err)
		}
	}
	for n := range box {
		if _, err := r.Decrypt(keys.TOTPSecret, "user-1", box[:n]); !errors.Is(err, keys.ErrCannotDecrypt) {
			t.Errorf("its first %d bytes: %v", n, err)
		}
		for bit := range 8 {
			bad := bytes.Clone(box)
			bad[n] ^= 1 << bit
			if _, err := r.Decrypt(keys.TOTPSecret, "user-1", bad); !errors.Is(err, keys.ErrCannotDecrypt) {
				t.Errorf("with bit %d of byte %d turned: %v", bit, n, err)
			}
		}
	}
}

// During a rotation the previous key still reads, and the current one writes; then the previous is gone.
func TestRotation(t *testing.T) {
	r, first := ring(t, 1)
	old := encrypt(t, r, keys.JobPayload, "job", []byte("old"))
	second := keys.NewKey(keys.NewID(), secret(2))
	r.Replace(second, first)
	if got, err := r.Decrypt(keys.JobPayload, "job", old); err != nil || string(got) != "old" {
		t.Errorf("the previous key reads %q, %v", got, err)
	}
	young := encrypt(t, r, keys.JobPayload, "job", []byte("new"))
	if r.Current() != second || r.Previous() != first || r.Find(first.ID) != first || r.Find(second.ID) != second || r.Find(keys.NewID()) != nil || r.Find("") != nil {
		t.Error("the ring has other keys than it was given")
	}
	r.Replace(second, nil)
	if _, err := r.Decrypt(keys.JobPayload, "job", old); !errors.Is(err, keys.ErrCannotDecrypt) {
		t.Errorf("without the previous key: %v", err)
	}
	if got, err := r.Decrypt(keys.JobPayload, "job", young); err != nil || string(got) != "new" {
		t.Errorf("the current key reads %q, %v", got, err)
	}
}

func TestEncryptNeedsAKeyWithAnID(t *testing.T) {
	for _, id := range []string{"", "12", "zzzzzzzzzzzzzzzz", strings.Repeat("0", 18)} {
		if _, err := keys.NewRing(keys.NewKey(id, secret(1)), nil).Encrypt(keys.JobPayload, "", nil); err == nil {
			t.Errorf("a key with the id %q encrypts", id)
		}
	}
	if _, err := keys.NewRing(nil, nil).Encrypt(keys.JobPayload, "", nil); err == nil {
		t.Error("no key encrypts")
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := keys.NewID()
		if b, err := hex.DecodeString(id); err != nil || len(b) != keys.IDBytes || seen[id] {
			t.Fatalf("%q is no new id", id)
		}
		seen[id] = true
	}
}

// A label that changed would make everything under it unreadable, so each one's derived key is written
// down here. It also fails for a label that is not here, or that two uses share.
func TestDerivedKeysNeverChange(t *testing.T) {
	want := map[string]string{ // the first eight bytes, from a secret of 32 sevens
		"AccessToken":         "c99b6f2ab32adf1c",
		"RefreshSuccessor":    "ff31922fe30f6d30",
		"DeviceCookie":        "772d614282065280",
		"SignInTicket":        "73e40d2cb15276d1",
		"PasskeyChallenge":    "04c485fd946a37ed",
		"TOTPSecret":          "b50d46b574900385",
		"EndpointCredentials": "3a860dae0c352e0f",
		"EndpointAuth":        "9a96e0316164b378",
		"JobPayload":          "4073e7b7a4b8c88f",
		"AttemptAnswer":       "bf93429ef48bfbaf",
		"DocumentText":        "c93d2c7150b2eaf0",
		"FingerprintKey":      "4f0508ed7319e49c",
		"EnvelopeMAC":         "2df4a087da6b999f",
		"DocumentSeal":        "d73368aaecf58961",
		"TreeHead":            "3da0985732892688",
	}
	key := keys.NewKey(keys.NewID(), secret(7))
	seen := map[string]string{}
	for name, label := range labels(t) {
		derived := key.Derive(keys.Purpose(label))
		if !bytes.Equal(derived, hkdf(secret(7), label)) {
			t.Errorf("%s is not HKDF-SHA256 of its label", name)
		}
		if got := hex.EncodeToString(derived[:8]); got != want[name] {
			t.Errorf("%s derives %s, and here it says %q", name, got, want[name])
		}
		if first := seen[label]; first != "" {
			t.Errorf("%s and %s share the label %q", first, name, label)
		}
		seen[label] = name
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is gone: what it protects can no longer be read", name)
	}
	if first, second := key.Derive(keys.JobPayload), key.Derive(keys.JobPayload); &first[0] != &second[0] {
		t.Error("a derived key is derived each time")
	}
	if bytes.Equal(key.Derive(keys.JobPayload), keys.NewKey(keys.NewID(), secret(8)).Derive(keys.JobPayload)) {
		t.Error("two secrets have one derived key")
	}
}

// hkdf is RFC 5869 for one block of output and no salt, by its own words, as a second opinion.
func hkdf(secret []byte, info string) []byte {
	extract := hmac.New(sha256.New, make([]byte, sha256.Size))
	extract.Write(secret)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte(info))
	expand.Write([]byte{1})
	return expand.Sum(nil)
}

// labels reads the constants of labels.go, the one list of purposes.
func labels(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "labels.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil || !strings.HasPrefix(text, "sealpost/v1/") {
				t.Errorf("%s is not a label: %q", spec.Names[0].Name, text)
			}
			found[spec.Names[0].Name] = text
		}
		return true
	})
	return found
}

// However a key is printed, logged or encoded, alone or inside something, only its id is to be seen.
func TestKeysAreNeverPrinted(t *testing.T) {
	words := []byte("correct horse battery staple 123")
	key := keys.NewKey("0123456789abcdef", words)
	derived := key.Derive(keys.JobPayload)
	r := keys.NewRing(key, key)
	type holder struct {
		Key  *keys.Key
		Ring *keys.Ring
		Set  keys.Set
		in   *keys.Key
	}
	h := holder{key, r, keys.Set{JWT: r, Data: r, Audit: r}, key}
	var out bytes.Buffer
	for _, v := range []any{key, *key, r, h, &h, []*keys.Key{key}, []keys.Key{*key}, map[string]*keys.Key{"k": key}, h.in} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%b"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", v))
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	text := out.String()
	for _, b := range [][]byte{words, derived} {
		numbers := strings.Trim(fmt.Sprintf("%d", b[:6]), "[]")
		for _, form := range []string{
			string(b), hex.EncodeToString(b[:6]), strings.ToUpper(hex.EncodeToString(b[:6])),
			base64.StdEncoding.EncodeToString(b)[:8], numbers, strings.ReplaceAll(numbers, " ", ", "), fmt.Sprintf("%#v", b)[7:40],
		} {
			if strings.Contains(text, form) {
				t.Errorf("a secret is printed as %q", form)
			}
		}
	}
	if !strings.Contains(text, "key 0123456789abcdef") {
		t.Error("the id is not printed")
	}
	if fmt.Sprint((*keys.Key)(nil)) != "<nil>" {
		t.Errorf("no key is printed as %v", (*keys.Key)(nil))
	}
}

func TestTheSecretIsACopy(t *testing.T) {
	mine := secret(1)
	key := keys.NewKey(keys.NewID(), mine)
	mine[0] = 99
	if !bytes.Equal(key.Secret(), secret(1)) {
		t.Error("the key changed with the caller's slice")
	}
}

// A ring is replaced while it is used.
func TestRingsAreSafeForConcurrentUse(t *testing.T) {
	r, first := ring(t, 1)
	second := keys.NewKey(keys.NewID(), secret(2))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				if i%10 == 0 {
					r.Replace(second, first)
					r.Replace(first, second)
				}
				box, err := r.Encrypt(keys.JobPayload, "p", []byte("v"))
				if err == nil {
					_, err = r.Decrypt(keys.JobPayload, "p", box)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecrypt(f *testing.F) {
	key := keys.NewKey("0123456789abcdef", secret(1))
	r := keys.NewRing(key, nil)
	box, err := r.Encrypt(keys.JobPayload, "place", []byte("value"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(box, "place")
	f.Add(box[:40], "place")
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, b []byte, place string) {
		value, err := r.Decrypt(keys.JobPayload, place, b)
		if err == nil && (place != "place" || string(value) != "value") { // all that was ever encrypted
			t.Errorf("%x at %q was decrypted to %q", b, place, value)
		}
		if err != nil && !errors.Is(err, keys.ErrCannotDecrypt) {
			t.Errorf("%x: %v", b, err)
		}
	})
}
