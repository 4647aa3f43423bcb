package account

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/hotp"
)

var rfcSecret = []byte("12345678901234567890")

// The last six digits of the codes in RFC 6238, appendix B.
func TestCodesOfRFC6238(t *testing.T) {
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := codeAt(rfcSecret, stepAt(time.Unix(at, 0))); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}

// A library that others wrote is the second opinion.
func TestCodesAgainstALibrary(t *testing.T) {
	secret := newTOTPSecret()
	setup, err := newSetup(secret, "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	for step := range int64(200) {
		want, err := hotp.GenerateCode(setup.Secret, uint64(step))
		if got := codeAt(secret, step); err != nil || got != want {
			t.Fatalf("step %d: %s, want %s (%v)", step, got, want, err)
		}
	}
}

func TestMatchStep(t *testing.T) {
	now := time.Unix(1111111110, 0) // the first second of its step
	at := func(offset int64) string { return codeAt(rfcSecret, stepAt(now)+offset) }
	for _, tt := range []struct {
		name string
		code string
		now  time.Time
		last int64 // before or after the current step
		want int64
		ok   bool
	}{
		{"this step", at(0), now, -100, 0, true},
		{"this step's last second", at(0), now.Add(29 * time.Second), -100, 0, true},
		{"30 s behind", at(-1), now, -100, -1, true},
		{"31 s behind", at(-2), now, -100, 0, false},
		{"59 s behind the step's end", at(-1), now.Add(29 * time.Second), -100, -1, true},
		{"ahead by one step", at(1), now, -100, 1, true},
		{"ahead by two steps", at(2), now, -100, 0, false},
		{"used", at(0), now, 0, 0, false},
		{"older than the one used", at(-1), now, 0, 0, false},
		{"newer than the one used", at(1), now, 0, 1, true},
		{"in two groups", at(0)[:3] + " " + at(0)[3:], now, -100, 0, true},
		{"wrong", "000000", now, -100, 0, false},
		{"empty", "", now, -100, 0, false},
		{"five digits", at(0)[:5], now, -100, 0, false},
		{"seven digits", at(0) + "0", now, -100, 0, false},
		{"other digits", strings.Map(func(r rune) rune { return r - '0' + '٠' }, at(0)), now, -100, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			step, ok := matchStep(rfcSecret, tt.code, tt.now, stepAt(now)+tt.last)
			if ok != tt.ok || (ok && step != stepAt(now)+tt.want) {
				t.Errorf("matchStep = %d, %v", step-stepAt(now), ok)
			}
		})
	}
}

func TestSetup(t *testing.T) {
	setup, err := newSetup(rfcSecret, "ada+é@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if setup.Secret != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" {
		t.Errorf("the secret is %s", setup.Secret)
	}
	u, err := url.Parse(setup.OtpauthURL)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Sealpost:ada+é@example.com" {
		t.Errorf("the URL is %s (%v)", setup.OtpauthURL, err)
	}
	for name, want := range map[string]string{
		"secret": setup.Secret, "issuer": "Sealpost", "digits": "6", "period": "30", "algorithm": "SHA1",
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q in %s", name, got, setup.OtpauthURL)
		}
	}
	data, ok := strings.CutPrefix(setup.QRPNG, "data:image/png;base64,")
	raw, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil {
		t.Fatalf("the picture is %.40s (%v)", setup.QRPNG, err)
	}
	if picture, err := png.Decode(bytes.NewReader(raw)); err != nil || picture.Bounds().Dx() != qrPixels {
		t.Errorf("the picture cannot be read: %v", err)
	}
}
