package document

import (
	"testing"

	"sealpost/audit"
)

func TestDecide(t *testing.T) {
	const me, other = "me", "other"
	user := func(role audit.Role) audit.Principal {
		return audit.Principal{Kind: audit.User, UserID: me, Role: role}
	}
	for _, tt := range []struct {
		name   string
		by     audit.Principal
		author string
		read   verdict
		write  verdict
	}{
		{"an author, own", user(audit.Author), me, allowed, allowed},
		{"an author, another's", user(audit.Author), other, hidden, hidden},
		{"an admin, own", user(audit.Admin), me, allowed, allowed},
		{"an admin, another's", user(audit.Admin), other, watched, hidden},
		{"an auditor", user(audit.Auditor), other, forbidden, forbidden},
		{"an auditor who was an author", user(audit.Auditor), me, forbidden, forbidden},
		{"a key of an admin", audit.Principal{Kind: audit.Service, UserID: me, KeyID: "k", Role: audit.Admin}, me, forbidden, forbidden},
		{"nobody", audit.Principal{Kind: audit.Anonymous}, other, forbidden, forbidden},
		{"the program", audit.Itself("dispatcher"), other, forbidden, forbidden},
		{"no role", user(""), me, forbidden, forbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(tt.by, reading, tt.author); got != tt.read {
				t.Errorf("reading: %v, want %v", got, tt.read)
			}
			if got := decide(tt.by, writing, tt.author); got != tt.write {
				t.Errorf("writing: %v, want %v", got, tt.write)
			}
		})
	}
}
