package web_test

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/store"
	"sealpost/store/storetest"
	"sealpost/web/webtest"
)

// The log is read as anybody's tool would read it: the checkpoint, the tiles that its size asks for, and
// every entry.
func TestAuditLogRoutes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := webtest.Start(t, st)
		auditor, author, admin := s.SignIn(t, "eve", audit.Auditor), s.SignIn(t, "bob", audit.Author), s.SignIn(t, "ann", audit.Admin)
		wantProblem(t, s.Do(t, "GET", "/audit/log/checkpoint", auditor, nil), 404, "no such checkpoint")
		wantProblem(t, s.Do(t, "GET", "/api/admin/audit/checkpoint", auditor, nil), 404, "no such checkpoint")
		events := make([]audit.Event, 300)
		for i := range events {
			events[i] = audit.Event{Action: "thing.made", EntityID: strconv.Itoa(i)}
		}
		if err := s.Log.Change(t.Context(), audit.Itself("test"), func(*store.Tx) ([]audit.Event, error) { return events, nil }); err != nil {
			t.Fatal(err)
		}
		id := s.Do(t, "GET", "/api/admin/audit/events?action=thing.made&limit=1", auditor, nil).Want(t, 200).Body["events"].([]any)[0].(map[string]any)["id"].(string)
		proofPath := "/api/admin/audit/events/" + id + "/proof"
		if a := s.Do(t, "GET", proofPath, auditor, nil); a.Status != 503 || a.Header.Get("Retry-After") != "2" {
			t.Errorf("before it is sealed: %d %s", a.Status, a.Text)
		}
		if err := s.Sealer.SealNow(t.Context()); err != nil {
			t.Fatal(err)
		}

		told := s.Do(t, "GET", "/api/admin/audit/checkpoint", admin, nil).Want(t, 200)
		verifier, err := note.NewVerifier(told.At("verifierKey").(string))
		if err != nil {
			t.Fatal(err)
		}
		head := s.Do(t, "GET", "/audit/log/checkpoint", auditor, nil).Want(t, 200)
		if head.Header.Get("Content-Type") != "text/plain; charset=utf-8" || head.Header.Get("Cache-Control") != "no-cache" || head.Text != told.At("checkpoint") {
			t.Errorf("%v %s", head.Header, head.Text)
		}
		c, err := audit.OpenCheckpoint(head.Text, verifier)
		if err != nil || c.Origin != s.Config.PublicURL.Host+"/audit/log" {
			t.Fatalf("%+v (%v)", c, err)
		}

		tiles := map[string]string{}
		for _, tile := range tlog.NewTiles(8, 0, c.Size) {
			path := audit.TilePath{Level: tile.L, N: tile.N, Width: tile.W}.String()
			a := s.Do(t, "GET", "/audit/log/"+path, auditor, nil).Want(t, 200)
			if a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("Cache-Control") != "private, max-age=31536000, immutable" {
				t.Errorf("%s: %v", path, a.Header)
			}
			tiles[path] = a.Text
		}
		leaf := int64(0)
		for n := range (c.Size + 255) / 256 {
			path := audit.TilePath{Entries: true, N: n, Width: int(min(256, c.Size-n*256))}.String()
			entries, err := audit.ParseBundle([]byte(s.Do(t, "GET", "/audit/log/"+path, auditor, nil).Want(t, 200).Text))
			if err != nil {
				t.Fatal(err)
			}
			hashes := tiles[strings.Replace(path, "entries", "0", 1)]
			for i, e := range entries {
				if h := audit.LeafHash(e); hashes[i*32:(i+1)*32] != string(h[:]) {
					t.Errorf("entry %d is not its leaf", leaf)
				}
				leaf++
			}
		}
		if leaf != c.Size || len(tiles) != 3 {
			t.Errorf("%d entries, and %d tiles of a log of %d", leaf, len(tiles), c.Size)
		}
		// A partial tile stays when it has grown.
		if a := s.Do(t, "GET", "/audit/log/tile/0/000.p/7", auditor, nil).Want(t, 200); a.Text != tiles["tile/0/000"][:7*32] {
			t.Error("a part of a full tile is not its beginning")
		}
		proof, err := audit.ParseProof(s.Do(t, "GET", proofPath, auditor, nil).Want(t, 200).Text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := proof.Verify(verifier); err != nil || !strings.Contains(proof.Event.Body, id) {
			t.Errorf("%+v (%v)", proof, err)
		}

		for _, path := range []string{"/audit/log/tile/0/002", "/audit/log/tile/0/001", "/audit/log/tile/9/000", "/audit/log/tile/0/0", "/audit/log/tile/entries/007", "/audit/log/tile/x"} {
			if a := s.Do(t, "GET", path, auditor, nil); a.Status != 404 {
				t.Errorf("%s: %d %s", path, a.Status, a.Text)
			}
		}
		for _, path := range []string{"/audit/log/checkpoint", "/audit/log/tile/0/000", "/audit/log/tile/entries/000", proofPath, "/api/admin/audit/checkpoint"} {
			wantProblem(t, s.Do(t, "GET", path, "", nil), 401, "sign in")
			wantProblem(t, s.Do(t, "GET", path, author, nil), 403, "your role")
			s.Do(t, "GET", path, admin, nil).Want(t, 200)
		}
		wantProblem(t, s.Do(t, "GET", strings.Replace(proofPath, id, store.NewID(), 1), auditor, nil), 404, "no audit event")
		s.Do(t, "GET", "/health", "", nil).Want(t, 200)
	})
}
