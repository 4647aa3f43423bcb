package document

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sealpost/fault"
)

func TestMatch(t *testing.T) {
	draft := Document{Revision: 3}
	final := Document{Revision: 3, FinalizedAt: time.Unix(1, 0)}
	many := make([]string, maxTags)
	for i := range many {
		many[i] = fmt.Sprintf(`"r%d"`, i)
	}
	for _, tt := range []struct {
		header      string
		doc         Document
		holds       bool
		unreadable  bool
		saysNothing bool
	}{
		{header: `"r3"`, doc: draft, holds: true},
		{header: `"r2"`, doc: draft},
		{header: `"r2" , "r3"`, doc: draft, holds: true},
		{header: `"r2","x,y"`, doc: draft},
		{header: `*`, doc: draft, holds: true},
		{header: ` * `, doc: draft, holds: true},
		{header: ``, doc: draft, saysNothing: true},
		{header: ` `, doc: draft, saysNothing: true},
		{header: `W/"r3"`, doc: draft}, // weak tags never match strongly
		{header: `"R3"`, doc: draft},
		{header: `""`, doc: draft},
		{header: `"r3"`, doc: final},
		{header: `"r3-final"`, doc: final, holds: true},
		{header: strings.Join(many, ","), doc: draft, holds: true},
		{header: strings.Join(many, ",") + `,"x"`, unreadable: true},
		{header: `r3`, unreadable: true},
		{header: `"r3`, unreadable: true},
		{header: `"r3",`, unreadable: true},
		{header: `"r3" "r4"`, unreadable: true},
		{header: `"r 3"`, unreadable: true},
		{header: `*,"r3"`, unreadable: true},
		{header: `w/"r3"`, unreadable: true},
	} {
		t.Run(tt.header, func(t *testing.T) {
			m, err := ParseMatch(tt.header)
			if tt.unreadable {
				wantFault(t, err, fault.BadRequest)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.holds(tt.doc); got != tt.holds {
				t.Errorf("holds is %v, want %v", got, tt.holds)
			}
			if got := m.Absent(); got != tt.saysNothing {
				t.Errorf("Absent is %v, want %v", got, tt.saysNothing)
			}
			if err := m.check(tt.doc); (err == nil) != (tt.holds || tt.saysNothing) {
				t.Errorf("check says %v", err)
			}
		})
	}
}

// Whatever a stranger sends, a condition that is read names only whole entity tags.
func FuzzParseMatch(f *testing.F) {
	for _, header := range []string{``, `*`, `"r3"`, `W/"r3", "a"`, `"a""b"`, `",",`} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		m, err := ParseMatch(header)
		if err != nil {
			return
		}
		if len(m.tags) > maxTags {
			t.Fatalf("%q has %d tags", header, len(m.tags))
		}
		for _, tag := range m.tags {
			bare := strings.TrimPrefix(tag, "W/")
			if len(bare) < 2 || bare[0] != '"' || bare[len(bare)-1] != '"' || strings.Contains(bare[1:len(bare)-1], `"`) {
				t.Fatalf("%q was read as the tag %q", header, tag)
			}
			if !strings.Contains(header, tag) {
				t.Fatalf("%q does not have the tag %q", header, tag)
			}
		}
	})
}
