package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// errWrong is the error of a value about which there is no more to say than what the variable takes.
var errWrong = errors.New("wrong")

// clean refuses what an editor, a shell or a copy leaves behind unseen. Cutting it off silently would
// make two programs read one environment file differently.
func clean(text string) error {
	switch {
	case !utf8.ValidString(text):
		return errors.New("bytes that are not UTF-8")
	case strings.TrimSpace(text) != text:
		return errors.New("white space around the value")
	case strings.ContainsFunc(text, unseen):
		return errors.New("a control character in the value")
	}
	return nil
}

// unseen tells of control characters and of the format characters that web pages and documents add.
func unseen(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// quoted shows a wrong value, shortened. Several lines, or what is no text, it only counts: that may be
// a key whose file was meant.
func quoted(text string) string {
	const most = 60
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || strings.HasPrefix(text, "-----BEGIN") {
		return bytesOf(text)
	}
	if r := []rune(text); len(r) > most {
		return strconv.Quote(string(r[:most])) + "…"
	}
	return strconv.Quote(text)
}

// bytesOf tells of a value only how long it is.
func bytesOf(text string) string {
	if len(text) == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", len(text))
}

func fixed(text string) func(*Config) string { return func(*Config) string { return text } }

// number is a variable for a whole number within limits.
func number(name string, def, low, high int, at func(*Config) *int, about string) variable {
	return variable{
		Variable: Variable{
			Name: name, Default: strconv.Itoa(def), About: about,
			Takes: fmt.Sprintf("a whole number from %d to %d", low, high),
		},
		fallback: fixed(strconv.Itoa(def)),
		read: func(c *Config, text string) error {
			n, err := parseNumber(text, low, high)
			if err == nil {
				*at(c) = n
			}
			return err
		},
	}
}

// unit is what a number of a duration counts. It is in the variable's name, so a value has none.
type unit struct {
	name string
	span time.Duration
}

var (
	milliseconds = unit{"milliseconds", time.Millisecond}
	seconds      = unit{"seconds", time.Second}
	minutes      = unit{"minutes", time.Minute}
	hours        = unit{"hours", time.Hour}
)

// span is a variable for a duration, given as a whole number of units within limits.
func span(name string, def, low, high int, u unit, at func(*Config) *time.Duration, about string) variable {
	v := number(name, def, low, high, nil, about)
	v.Takes = fmt.Sprintf("a whole number of %s from %d to %d", u.name, low, high)
	v.read = func(c *Config, text string) error {
		n, err := parseNumber(text, low, high)
		if err == nil {
			*at(c) = time.Duration(n) * u.span
		}
		return err
	}
	return v
}

// parseNumber reads a decimal number in its one canonical form: no sign but a minus, which is out of
// every range, no leading zero, which some programs take for octal, and no unit.
func parseNumber(text string, low, high int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(n) != text || n < low || n > high {
		return 0, errWrong
	}
	return n, nil
}

// flag is a variable for yes or no, whose default may differ in production.
func flag(name string, outside, production bool, at func(*Config) *bool, about string) variable {
	v := variable{
		Variable: Variable{Name: name, Takes: "true, false, 1 or 0", Default: strconv.FormatBool(outside), About: about},
		fallback: func(c *Config) string {
			if c.Production() {
				return strconv.FormatBool(production)
			}
			return strconv.FormatBool(outside)
		},
		read: func(c *Config, text string) error {
			yes, err := parseFlag(text)
			if err == nil {
				*at(c) = yes
			}
			return err
		},
	}
	if outside != production {
		v.Default += fmt.Sprintf("; %t in production", production)
	}
	return v
}

// parseFlag takes four spellings and no others: a flag that guards production must not depend on how
// "yes", "on" or "TRUE" are understood.
func parseFlag(text string) (bool, error) {
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errWrong
}

// oneOf is a variable for one of a few words.
func oneOf(name, def string, words []string, at func(*Config) *string, about string) variable {
	last := len(words) - 1
	return text(name, def, strings.Join(words[:last], ", ")+" or "+words[last], at, func(s string) error {
		if !slices.Contains(words, s) {
			return errWrong
		}
		return nil
	}, about)
}

// text is a variable for a text that passes check, or for any when check is nil.
func text(name, def, takes string, at func(*Config) *string, check func(string) error, about string) variable {
	return variable{
		Variable: Variable{Name: name, Takes: takes, Default: def, About: about},
		fallback: fixed(def),
		read: func(c *Config, s string) error {
			if check != nil {
				if err := check(s); err != nil {
					return err
				}
			}
			*at(c) = s
			return nil
		},
	}
}
