package account

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6238's default, and what authenticator apps do
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image/png"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
)

// TOTP by RFC 6238 with what every authenticator app knows: SHA-1, six digits, steps of 30 seconds.
const (
	totpStepLength  = 30 * time.Second
	totpDigits      = 6
	totpSkew        = 1 // steps before and after the current one that are taken (§5.2)
	totpSecretBytes = 20
	totpIssuer      = "Sealpost" // what the app shows beside the address
	qrPixels        = 240
)

func newTOTPSecret() []byte {
	secret := make([]byte, totpSecretBytes)
	_, _ = rand.Read(secret)
	return secret
}

func stepAt(t time.Time) int64 { return t.Unix() / int64(totpStepLength/time.Second) }

// matchStep gives the time step whose code this is: one of the three around now that is later than the
// last one used. All three are always computed and compared in constant time.
func matchStep(secret []byte, code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "") // apps show it in two groups
	for s := stepAt(now) + totpSkew; s >= stepAt(now)-totpSkew; s-- {
		if subtle.ConstantTimeCompare([]byte(codeAt(secret, s)), []byte(code)) == 1 && s > last {
			step, ok = s, true // the earliest, where a code is that of two steps
		}
	}
	return step, ok
}

// codeAt is HOTP (RFC 4226 §5.3) with the step as its counter.
func codeAt(secret []byte, step int64) string {
	h := hmac.New(sha1.New, secret)
	_ = binary.Write(h, binary.BigEndian, step)
	sum := h.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	value := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, value%1_000_000)
}

// Setup is what an authenticator app needs, shown once.
type Setup struct {
	Secret     string `json:"secret"`     // base32 without padding, to be typed
	OtpauthURL string `json:"otpauthUrl"` // the same as a link
	QRPNG      string `json:"qrPng"`      // the same as a picture, a data: URI
}

func newSetup(secret []byte, address string) (Setup, error) {
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: totpIssuer, AccountName: address, Secret: secret, Period: uint(totpStepLength / time.Second),
	})
	if err != nil {
		return Setup{}, fmt.Errorf("make an otpauth URL: %w", err)
	}
	picture, err := key.Image(qrPixels, qrPixels)
	if err != nil {
		return Setup{}, fmt.Errorf("draw a QR code: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return Setup{}, fmt.Errorf("draw a QR code: %w", err)
	}
	return Setup{
		Secret:     base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret),
		OtpauthURL: key.URL(),
		QRPNG:      "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()),
	}, nil
}
