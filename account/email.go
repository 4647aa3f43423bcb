package account

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"sealpost/fault"
)

// The limits of an address (RFC 5321 §4.5.3.1), in bytes, and of a name, in code points.
const (
	maxEmail      = 254
	maxLocalPart  = 64
	maxDomainPart = 63
	maxName       = 200
)

// email is an address as it is shown and in the one form in which it is compared.
type email struct{ shown, key string }

// parseEmail reads an address. Its key is the NFKC case folding (Unicode §3.13, toNFKC_Casefold), so
// that spellings which look the same are one account, with one counter of attempts. A domain is in
// ASCII (xn-- where it is international); the local part is whatever RFC 6531 allows without quotes.
// fault.Invalid.
func parseEmail(text string) (email, error) {
	e := email{shown: norm.NFC.String(strings.TrimSpace(text))}
	e.key = foldEmail(e.shown)
	at := strings.LastIndexByte(e.key, '@')
	switch {
	case !utf8.ValidString(text) || at < 1:
		return email{}, invalidField("email", "email is not an address of the form name@example.com")
	case len(e.shown) > maxEmail || len(e.key) > maxEmail || at > maxLocalPart:
		return email{}, invalidField("email", "email is longer than an address can be: %d bytes, %d of them before the @", maxEmail, maxLocalPart)
	case !validLocalPart(e.key[:at]):
		return email{}, invalidField("email", "email is not an address of the form name@example.com")
	case !validDomain(e.key[at+1:]):
		return email{}, invalidField("email", "email has a domain that is none: write it in ASCII letters, digits, hyphens and dots")
	}
	return e, nil
}

// foldEmail gives the form in which addresses are compared, also of what is none; it is always text
// that both databases take.
func foldEmail(text string) string {
	fold := cases.Fold()
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	text = norm.NFKC.String(fold.String(norm.NFKC.String(strings.TrimSpace(text))))
	return norm.NFKC.String(fold.String(text))
}

func validLocalPart(s string) bool {
	if strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case r == utf8.RuneError, strings.ContainsRune(`@"(),:;<>[\]`, r):
			return true
		case r < utf8.RuneSelf:
			return r <= ' ' || r == 0x7f
		}
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) // invisible characters make look-alikes
	})
}

// validDomain takes host names (RFC 1123 §2.1), a single label too: pilots run on "localhost".
func validDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxDomainPart || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// parseName reads what people are called: not empty, at most 200 code points, on one line.
func parseName(text string) (string, error) {
	name := norm.NFC.String(strings.TrimSpace(text))
	switch {
	case name == "":
		return "", invalidField("name", "name is empty")
	case utf8.RuneCountInString(name) > maxName:
		return "", invalidField("name", "name is longer than %d characters", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "", invalidField("name", "name has characters that cannot be shown")
	}
	return name, nil
}

// invalidField is a fault about one field of a request's body, in the form in which the web layer tells
// of fields: details.fields[{field, message}].
func invalidField(field, format string, args ...any) error {
	f := fault.New(fault.Invalid, format, args...)
	return f.With("fields", []map[string]string{{"field": "body." + field, "message": f.Message}})
}
