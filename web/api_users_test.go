package web_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/web/webtest"
)

// Two ADMINs demote and disable each other over their sockets at once, again and again: one always stays.
func TestTheLastAdminStaysOverSockets(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		names := []string{"ann", "bea"}
		for round := range 20 {
			tokens := []string{s.SignIn(t, names[0], audit.Admin), s.SignIn(t, names[1], audit.Admin)}
			ids := []string{userID(t, s, tokens[0]), userID(t, s, tokens[1])}
			patch := fields{"role": "AUTHOR"}
			if round%2 == 1 {
				patch = fields{"disabled": true}
			}
			answers := make([]webtest.Answer, 2)
			var both sync.WaitGroup
			for i := range 2 {
				both.Go(func() { answers[i] = s.Do(t, http.MethodPatch, "/api/admin/users/"+ids[1-i], tokens[i], patch) })
			}
			both.Wait()
			// Who comes second is told that the other is the last, or is no ADMIN any more.
			won := -1
			for i, a := range answers {
				switch {
				case a.Status == 200 && won < 0:
					won = i
				case a.Status == 200:
					t.Fatalf("round %d: both went through", round)
				case a.Status != 409 && a.Status != 403 && a.Status != 401:
					t.Fatalf("round %d: %d: %s", round, a.Status, a.Text)
				}
			}
			if won < 0 {
				t.Fatalf("round %d: none went through: %s, %s", round, answers[0].Text, answers[1].Text)
			}
			s.Do(t, http.MethodPatch, "/api/admin/users/"+ids[1-won], tokens[won], fields{"role": "ADMIN", "disabled": false}).Want(t, 200)
		}
	})
}

func TestUserByAddress(t *testing.T) {
	each(t, func(t *testing.T, s *webtest.Server) {
		ada := s.SignIn(t, "ada", audit.Admin)
		kim := userID(t, s, s.SignIn(t, "kim", audit.Author))
		for address, found := range map[string]bool{"kim@example.org": true, " KIM@Example.org ": true, "\uff4bim@example.org": true, "kim@example.com": false, "kim": false} {
			users := s.Do(t, "GET", "/api/admin/users?email="+url.QueryEscape(address), ada, nil).Want(t, 200).At("users").([]any)
			if (len(users) == 1) != found || found && users[0].(map[string]any)["id"] != kim {
				t.Errorf("%q finds %v", address, users)
			}
		}
	})
}
