package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"sealpost/fault"
)

func TestKindIsFoundThroughWrapping(t *testing.T) {
	inner := fault.New(fault.Conflict, "document %s is final", "d1").With("version", 3)
	for _, tt := range []struct {
		name string
		err  error
		want fault.Kind
	}{
		{"a fault", inner, fault.Conflict},
		{"a wrapped fault", fmt.Errorf("finalize: %w", inner), fault.Conflict},
		{"the outermost counts", fault.Wrap(fault.Unavailable, inner, "try later"), fault.Unavailable},
		{"anything else is not intended", errors.New("disk on fire"), fault.Internal},
		{"nil is not intended", nil, fault.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.Of(tt.err); got != tt.want {
				t.Errorf("Of(%v) = %v, want %v", tt.err, got, tt.want)
			}
		})
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("no error is no fault")
	}
}

func TestCauseStaysOutOfTheMessage(t *testing.T) {
	err := fault.Wrap(fault.Unavailable, errors.New("pq: password is hunter2"), "the database is away")
	if err.Message != "the database is away" {
		t.Errorf("the caller's message is %q", err.Message)
	}
	if want := "the database is away: pq: password is hunter2"; err.Error() != want {
		t.Errorf("the log's line is %q, want %q", err.Error(), want)
	}
}
