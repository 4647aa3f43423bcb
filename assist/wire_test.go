package assist

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestWireLimit reads as much as may come, and one byte more.
func TestWireLimit(t *testing.T) {
	for _, tt := range []struct {
		size int
		err  error
	}{{99, nil}, {100, nil}, {101, errTooLarge}} {
		timer := time.NewTimer(time.Hour)
		w := &wire{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", tt.size))), timer: timer, silence: time.Hour, left: 100}
		b, err := io.ReadAll(w)
		timer.Stop()
		if !errors.Is(err, tt.err) || len(b) > 100 {
			t.Errorf("of %d bytes it read %d, and the error is %v", tt.size, len(b), err)
		}
	}
}

func TestWord(t *testing.T) {
	for _, tt := range []struct{ s, want string }{
		{"gpt-4.1-mini-2025-04-14", "gpt-4.1-mini-2025-04-14"},
		{"a\x00b\n\u202ec\xff", "abc"},
		{strings.Repeat("x", 201), strings.Repeat("x", 200)},
		{strings.Repeat("é", 101), strings.Repeat("é", 100)},
		{strings.Repeat("x", 199) + "é", strings.Repeat("x", 199)},
	} {
		if got := word(tt.s); got != tt.want {
			t.Errorf("%q became %q", tt.s, got)
		}
	}
}
