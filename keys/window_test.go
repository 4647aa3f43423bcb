package keys_test

import (
	"testing"
	"time"

	"sealpost/keys"
)

func TestWindowOfThePreviousKeyEnds(t *testing.T) {
	old, current := keys.NewKey(keys.NewID(), secret(1)), keys.NewKey(keys.NewID(), secret(2))
	end := time.Date(2026, 3, 14, 21, 26, 5, 0, time.UTC)
	r := keys.NewRing(old, nil)
	box := encrypt(t, r, keys.JobPayload, "job-1", []byte("kept"))
	r.ReplaceUntil(current, old, end)
	for _, tt := range []struct {
		name string
		id   string
		now  time.Time
		want *keys.Key
	}{
		{"the current key", current.ID, end.Add(time.Hour), current},
		{"the previous one within its window", old.ID, end.Add(-time.Microsecond), old},
		{"at its end", old.ID, end, nil},
		{"after it", old.ID, end.Add(time.Hour), nil},
		{"another", keys.NewID(), end.Add(-time.Hour), nil},
	} {
		if got := r.FindAt(tt.id, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if _, err := r.Decrypt(keys.JobPayload, "job-1", box); err != nil {
		t.Errorf("what the previous key encrypted cannot be read: %v", err)
	}
	r.Replace(current, old)
	if r.FindAt(old.ID, end.Add(time.Hour)) != old {
		t.Error("a window without an end ends")
	}
	r.Replace(nil, nil)
	if r.FindAt(old.ID, end) != nil {
		t.Error("an empty ring gives a key")
	}
}
