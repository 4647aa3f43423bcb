package document

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sealpost/fault"
)

// Text is what a revision says.
type Text struct {
	Title   string // 1 to 300 code points in one line
	Content string // Markdown, at most 900 KiB of UTF-8
}

// The limits of a text. A request's body may have 1 MiB, so that JSON's escapes have room.
const (
	MaxTitle   = 300       // code points
	MaxContent = 900 << 10 // bytes
)

// Issue is one thing that is wrong with a text.
type Issue struct {
	Code    string `json:"code"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// check tells everything that is wrong with a text at once. NUL is refused because PostgreSQL cannot
// keep it. fault.Invalid with details.issues.
func (t Text) check() error {
	var issues []Issue
	wrong := func(field, code, format string, args ...any) {
		issues = append(issues, Issue{Code: code, Field: field, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case !utf8.ValidString(t.Title):
		wrong("title", "not_utf8", "the title is not UTF-8")
	case strings.TrimSpace(t.Title) == "":
		wrong("title", "empty", "the title is empty")
	case utf8.RuneCountInString(t.Title) > MaxTitle:
		wrong("title", "too_long", "the title has more than %d characters", MaxTitle)
	case strings.ContainsFunc(t.Title, unicode.IsControl):
		wrong("title", "control_character", "the title has a control character in it, such as a line break")
	}
	switch {
	case !utf8.ValidString(t.Content):
		wrong("content", "not_utf8", "the content is not UTF-8")
	case len(t.Content) > MaxContent:
		wrong("content", "too_long", "the content has more than %d bytes", MaxContent)
	case strings.ContainsRune(t.Content, 0):
		wrong("content", "nul", "the content has a NUL character in it")
	}
	if len(issues) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "%s", issues[0].Message).With("issues", issues)
}
