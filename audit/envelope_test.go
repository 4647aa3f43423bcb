package audit_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"sealpost/audit"
	"sealpost/keys"
)

// The form of an envelope is kept forever, so it is written down here, byte by byte.
func TestEnvelopeForm(t *testing.T) {
	e := audit.Envelope{
		KeyID: "0102030405060708", Writer: "0190163d-8694-739b-aea5-966c26f8ad91", Counter: 0x1112131415161718,
		At: time.UnixMicro(0x2122232425262728), BodyHash: [32]byte{0: 0xAA, 31: 0xBB},
	}
	want := unhex(t, `01 0102030405060708 0190163d8694739baea5966c26f8ad91 1112131415161718 2122232425262728
		aa00000000000000 0000000000000000 0000000000000000 00000000000000bb`)
	if got, err := e.Marshal(); err != nil || !bytes.Equal(got, want) || len(got) != 73 {
		t.Errorf("got  %x (%v)\nwant %x", got, err, want)
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := audit.Envelope{
			KeyID:   rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "key"),
			Writer:  uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "writer")).String(),
			Counter: rapid.Uint64().Draw(t, "counter"),
			At:      time.UnixMicro(rapid.Int64Range(0, math.MaxInt64).Draw(t, "at")).UTC(),
		}
		copy(e.BodyHash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		b, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := audit.ParseEnvelope(b); err != nil || got != e {
			t.Errorf("got %+v (%v), want %+v", got, err, e)
		}
	})
}

func TestEnvelopeRefusesWhatHasNoForm(t *testing.T) {
	writer := uuid.NewString()
	for what, e := range map[string]audit.Envelope{
		"no key":        {Writer: writer},
		"a short key":   {KeyID: "01", Writer: writer},
		"a long key":    {KeyID: "010203040506070809", Writer: writer},
		"a key in text": {KeyID: "not hexadecimals", Writer: writer},
		"no writer":     {KeyID: keys.NewID()},
		"another name":  {KeyID: keys.NewID(), Writer: "server-1"},
	} {
		if b, err := e.Marshal(); err == nil {
			t.Errorf("%s: %x", what, b)
		}
	}
	good, err := audit.Envelope{KeyID: keys.NewID(), Writer: writer}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "half of one": good[:40], "one byte less": good[:72], "one byte more": append(bytes.Clone(good), 0),
		"another version": append([]byte{2}, good[1:]...), "version zero": append([]byte{0}, good[1:]...),
	} {
		if e, err := audit.ParseEnvelope(b); err == nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	good, err := audit.Envelope{KeyID: "0102030405060708", Writer: uuid.NewString(), Counter: 7, At: time.UnixMicro(1)}.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:72])
	f.Add([]byte{1})
	f.Add(append([]byte{1}, bytes.Repeat([]byte{0xff}, 72)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := audit.ParseEnvelope(b)
		if err != nil {
			return
		}
		if again, err := e.Marshal(); err != nil || !bytes.Equal(again, b) { // one form, so one leaf hash
			t.Errorf("%x is read and written as %x (%v)", b, again, err)
		}
	})
}
