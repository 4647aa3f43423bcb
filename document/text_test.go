package document

import (
	"errors"
	"strings"
	"testing"

	"sealpost/fault"
)

func TestTextCheck(t *testing.T) {
	long := strings.Repeat("ä", MaxTitle)
	full := strings.Repeat("x", MaxContent)
	for _, tt := range []struct {
		name string
		text Text
		want []string // codes
	}{
		{"title and content", Text{"T", "c"}, nil},
		{"no content yet", Text{"T", ""}, nil},
		{"the longest title, in characters", Text{long, ""}, nil},
		{"one character more", Text{long + "x", ""}, []string{"title too_long"}},
		{"the longest content, in bytes", Text{"T", full}, nil},
		{"one byte more", Text{"T", full + "x"}, []string{"content too_long"}},
		{"no title", Text{"", "c"}, []string{"title empty"}},
		{"a blank title", Text{" \u00a0\t", "c"}, []string{"title empty"}},
		{"a title of two lines", Text{"a\nb", "c"}, []string{"title control_character"}},
		{"NUL in the title", Text{"a\x00b", "c"}, []string{"title control_character"}},
		{"NUL in the content", Text{"T", "a\x00b"}, []string{"content nul"}},
		{"other control characters are text", Text{"T", "a\tb\r\n\f\u0085"}, nil},
		{"not UTF-8", Text{"\xff", "\xc3\x28"}, []string{"title not_utf8", "content not_utf8"}},
		{"everything at once", Text{"", full + "\x00"}, []string{"title empty", "content too_long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.text.check()
			var got []string
			if f, ok := errors.AsType[*fault.Error](err); ok {
				if f.Kind != fault.Invalid {
					t.Errorf("the kind is %v", f.Kind)
				}
				for _, issue := range f.Details["issues"].([]Issue) {
					got = append(got, issue.Field+" "+issue.Code)
				}
			}
			if strings.Join(got, ", ") != strings.Join(tt.want, ", ") {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
