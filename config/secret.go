package config

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a value that prints as a placeholder in every way there is to print it. The zero Secret is
// unset. Secrets are compared with Equal; == does not compile.
type Secret struct {
	// open gives the value. It is a function because printing by reflection cannot look inside one:
	// fmt calls no method on an unexported field, so a Secret kept in another package's struct would
	// otherwise show its bytes there.
	open       func() (value []byte, text string)
	source     Source
	name       string
	kind       *secretKind // nil: no file to reload from
	production bool
}

// Source says where a secret came from.
type Source struct {
	Kind SourceKind
	Path string // the file, empty for Environment, Default and Given
}

// SourceKind is one of the places a secret can come from.
type SourceKind string

// The sources, in the order in which they are asked.
const (
	Unset       SourceKind = ""            // nowhere; a Path is then where one may still appear
	Environment SourceKind = "environment" // the variable itself
	File        SourceKind = "file"        // the file that NAME_FILE names
	Credential  SourceKind = "credential"  // the file NAME in $CREDENTIALS_DIRECTORY
	Generated   SourceKind = "generated"   // the file NAME in the data directory's secrets
	Default     SourceKind = "default"
	Given       SourceKind = "given" // by NewSecret
)

// String gives the kind and the path.
func (s Source) String() string {
	switch {
	case s.Kind == Unset:
		return "unset"
	case s.Path == "":
		return string(s.Kind)
	}
	return string(s.Kind) + " " + s.Path
}

// NewSecret makes a secret of bytes that did not come from the environment.
func NewSecret(value []byte) Secret {
	return Secret{source: Source{Kind: Given}}.holding(value, string(value))
}

// holding gives the same secret with a value, and with the text that the value was read from.
func (s Secret) holding(value []byte, text string) Secret {
	value = bytes.Clone(value)
	s.open = func() ([]byte, string) { return value, text }
	return s
}

// IsSet tells whether there is a value.
func (s Secret) IsSet() bool { return s.open != nil }

// Reveal gives a copy of the value, nil when unset. A key that the environment holds in base64 is
// given decoded.
func (s Secret) Reveal() []byte {
	if s.open == nil {
		return nil
	}
	value, _ := s.open()
	return bytes.Clone(value)
}

// Source tells where the value came from. For an unset secret it may have the path of the file that
// Reload looks for.
func (s Secret) Source() Source {
	if s.open == nil {
		return Source{Path: s.source.Path}
	}
	return s.source
}

// Equal compares the values in constant time. Two unset secrets are equal.
func (s Secret) Equal(other Secret) bool {
	return s.IsSet() == other.IsSet() && subtle.ConstantTimeCompare(s.Reveal(), other.Reveal()) == 1
}

// Overlaps tells whether two secrets are one: by their values, or by the texts they were read from,
// since the same text may be a key in base64 in one place and taken as it is in the other.
func (s Secret) Overlaps(other Secret) bool {
	if !s.IsSet() || !other.IsSet() {
		return false
	}
	_, a := s.open()
	_, b := other.open()
	return s.Equal(other) || subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// String gives a placeholder that tells only whether there is a value.
func (s Secret) String() string {
	if s.open == nil {
		return "[unset]"
	}
	return "[redacted]"
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format prints the placeholder for every verb, also those that would go around String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String, for XML, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String in quotes.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue is String, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
