package account

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sealpost/fault"
)

// MaxPasswordLength is the longest password, in code points. NIST SP 800-63B-4 asks for at least 64.
const MaxPasswordLength = 128

// maxPasswordBytes is more than any 128 characters of NFC take, however they were typed: nothing longer
// is looked at, neither by the policy nor by the hash.
const maxPasswordBytes = 4096

// The codes of what can be wrong with a password (runbook §2), in the order in which they are listed.
const (
	TooShort           = "TOO_SHORT"
	TooLong            = "TOO_LONG"
	MissingUppercase   = "MISSING_UPPERCASE"
	MissingLowercase   = "MISSING_LOWERCASE"
	MissingNumber      = "MISSING_NUMBER"
	MissingSymbol      = "MISSING_SYMBOL"
	ContainsWhitespace = "CONTAINS_WHITESPACE"
	InvalidCharacter   = "INVALID_CHARACTER"
	WeakPattern        = "WEAK_PATTERN"
	SameAsBefore       = "SAME_AS_BEFORE" // found by comparing with the hash, not by CheckPassword
)

// Issue is one thing that is wrong with a password.
type Issue struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// CheckPassword gives everything that is wrong with a password, nothing for a good one. Length counts
// code points of the NFC form, the form that is hashed. own are texts about its user (name, e-mail),
// which it may not be made of.
func CheckPassword(password string, minLength int, own ...string) []Issue {
	long := len(password) > maxPasswordBytes
	if long {
		password = password[:maxPasswordBytes]
	}
	password = norm.NFC.String(password)
	var issues []Issue
	add := func(wrong bool, code, format string, args ...any) {
		if wrong {
			issues = append(issues, Issue{code, fmt.Sprintf(format, args...)})
		}
	}
	length := utf8.RuneCountInString(password)
	has := classify(password)
	add(length < minLength, TooShort, "use at least %d characters", minLength)
	add(long || length > MaxPasswordLength, TooLong, "use at most %d characters", MaxPasswordLength)
	add(!has.upper, MissingUppercase, "add an uppercase letter")
	add(!has.lower, MissingLowercase, "add a lowercase letter")
	add(!has.number, MissingNumber, "add a number")
	add(!has.symbol, MissingSymbol, "add a symbol, such as ! or -")
	add(has.space, ContainsWhitespace, "leave out spaces and other white space")
	add(has.invalid, InvalidCharacter, "leave out control characters and characters that are damaged")
	add(isWeak(password, own), WeakPattern,
		"choose something harder to guess: not a common word with numbers around it, a row of keys, a repetition, or your own name or e-mail")
	return issues
}

type classes struct{ upper, lower, number, symbol, space, invalid bool }

// classify tells which kinds of characters a password has. A symbol is what is no letter, mark, number
// or white space.
func classify(password string) classes {
	has := classes{invalid: !utf8.ValidString(password)}
	for _, r := range password {
		switch {
		case unicode.IsUpper(r), unicode.IsTitle(r):
			has.upper = true
		case unicode.IsLower(r):
			has.lower = true
		case unicode.IsNumber(r):
			has.number = true
		case unicode.IsSpace(r):
			has.space = true
		case unicode.IsControl(r), r == utf8.RuneError: // what is left of a lone surrogate, too
			has.invalid = true
		case unicode.IsLetter(r), unicode.IsMark(r):
		default:
			has.symbol = true
		}
	}
	return has
}

// checkNewPassword holds a password that is to be set against the policy. fault.Invalid with
// details.issues, every issue at once.
func (a *Accounts) checkNewPassword(password string, own ...string) error {
	return weakPassword(CheckPassword(password, a.o.PasswordMinLength, own...))
}

func weakPassword(issues []Issue) error {
	if len(issues) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "the password does not meet the policy").With("issues", issues)
}
