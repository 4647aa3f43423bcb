package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/dispatch"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// A job's evidence proves its story, and which payload it was, to whoever may see the job.
func TestJobEvidence(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st, "DISPATCH_MAX_ATTEMPTS=1")
		bob, kim := s.SignIn(t, "bob", audit.Author), s.SignIn(t, "kim", audit.Author)
		auditor, admin := s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "ann", audit.Admin)
		endpoint := pageEndpoint(t, s, "Ledger", answering(t, 200, "yes"))
		id := s.Do(t, "POST", "/api/dispatch/jobs", bob, fields{"endpointId": endpoint, "contentType": "text/plain", "payload": "hello"}).Want(t, 202).At("job.id").(string)
		pageJobIs(t, s, id, dispatch.Dispatched)
		path := "/api/dispatch/jobs/" + id + "/evidence"
		seal(t, s)
		wantProblem(t, s.Do(t, "GET", path, kim, nil), 404, "no job")
		wantProblem(t, s.Do(t, "GET", path, "", nil), 401, "sign in")
		wantProblem(t, s.Do(t, "GET", "/api/dispatch/jobs/"+store.NewID()+"/evidence", admin, nil), 404, "no job")
		for name, token := range map[string]string{"the author": bob, "an auditor": auditor, "an admin": admin} {
			a := s.Do(t, "GET", path, token, nil).Want(t, 200)
			wantNames(t, a.Body, "format", "entity", "entityId", "madeAt", "verifierKey", "statement", "proofs")
			e, err := audit.ParseEvidence([]byte(a.Text))
			if err != nil {
				t.Fatal(name, err)
			}
			v, err := note.NewVerifier(e.VerifierKey)
			if err != nil {
				t.Fatal(err)
			}
			list, err := e.Verify(v)
			if err != nil || len(list) != 2 || list[1].Action != "dispatch.job.dispatched" {
				t.Errorf("%s: %+v, %v", name, list, err)
			}
			salt, err := base64.StdEncoding.DecodeString(a.At("statement.payloadSalt").(string))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(append(salt, "hello"...))
			if hash := hex.EncodeToString(sum[:]); list[0].Details["payloadHash"] != hash || a.At("statement.payloadHash") != hash {
				t.Errorf("the payload is not proven: %v, %v", list[0].Details, a.At("statement.payloadHash"))
			}
		}
		// A key is its owner's, whatever the owner's role sees.
		_, key := apiKey(t, s, admin, "", account.DispatchRead)
		wantProblem(t, s.Do(t, "GET", path, key, nil), 404, "no job")
	})
}
