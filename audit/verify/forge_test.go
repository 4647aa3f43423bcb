package verify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
)

// What somebody with full write access to the database can do, and does well.

// entries reads the log's entries.
func (s *site) entries() (list [][]byte) {
	s.t.Helper()
	err := s.st.Read(s.t.Context(), func(tx *store.Tx) error {
		return tx.Each(s.t.Context(), func(scan func(...any) error) error {
			var b []byte
			if err := scan(&b); err != nil {
				return err
			}
			some, err := audit.ParseBundle(b)
			list = append(list, some...)
			return err
		}, `select entries from audit_bundle order by n`)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func bundleOf(entries [][]byte) (b []byte) {
	for _, e := range entries {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b
}

// putEntries writes entries in place of those that are there, and no tile.
func (s *site) putEntries(entries [][]byte) {
	s.t.Helper()
	for n := 0; n*256 < len(entries); n++ {
		s.run(`update audit_bundle set entries = $2 where n = $1`, n, bundleOf(entries[n*256:min(len(entries), n*256+256)]))
	}
}

// putTile writes a tile of the lowest level as its entries make it.
func (s *site) putTile(n int, entries [][]byte) {
	s.t.Helper()
	var hashes []byte
	for _, e := range entries[n*256 : min(len(entries), n*256+256)] {
		h := audit.LeafHash(e)
		hashes = append(hashes, h[:]...)
	}
	s.run(`update audit_tile set hashes = $2 where level = 0 and n = $1`, n, hashes)
}

// rebuild makes the whole tree of other entries, up to its head.
func (s *site) rebuild(entries [][]byte) {
	s.t.Helper()
	s.putEntries(entries)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			list[i] = stored[at]
		}
		return list, nil
	})
	for i, e := range entries {
		hashes, err := tlog.StoredHashes(int64(i), e, reader)
		if err != nil {
			s.t.Fatal(err)
		}
		stored = append(stored, hashes...)
	}
	for _, tile := range tlog.NewTiles(8, 0, int64(len(entries))) {
		data, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			s.t.Fatal(err)
		}
		s.run(`update audit_tile set hashes = $3, width = $4 where level = $1 and n = $2`, tile.L, tile.N, data, tile.W)
	}
	root, err := tlog.TreeHash(int64(len(entries)), reader)
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(`update audit_tree set size = $1, root = $2`, len(entries), root[:])
}

// body reads an event's salt and body.
func (s *site) body(id string) (salt []byte, body string) {
	s.t.Helper()
	s.one(`select salt, body from "AuditLog" where id = $1`, []any{id}, &salt, &body)
	return salt, body
}

// reword edits the body of a leaf's event, and gives the entries that then fit.
func (s *site) reword(leaf int64, old, replacement string) [][]byte {
	s.t.Helper()
	id := s.event(leaf)
	salt, body := s.body(id)
	if !strings.Contains(body, old) {
		s.t.Fatalf("%s is not in %s", old, body)
	}
	body = strings.Replace(body, old, replacement, 1)
	s.run(`update "AuditLog" set body = $2 where id = $1`, id, body)
	entries := s.entries()
	sum := sha256.Sum256(append(salt, body...))
	copy(entries[leaf][41:], sum[:])
	return entries
}

// sealable makes a row of "AuditLog" and one that waits to be sealed; the MAC is right where the key is.
func (s *site) sealable(key *keys.Key, writer string, counter uint64, at time.Time, action, details string) string {
	s.t.Helper()
	id := store.NewID()
	body := fmt.Sprintf(`{"v":1,"id":%q,"time":%q,"actor":{"kind":"system"},"action":%q,"outcome":"SUCCESS"`, id, at.Format("2006-01-02T15:04:05.000000Z"), action)
	if details != "" {
		body += `,"details":` + details
	}
	body += "}"
	salt := []byte("0123456789abcdef")
	envelope, err := audit.Envelope{KeyID: key.ID, Writer: writer, Counter: counter, At: at, BodyHash: sha256.Sum256(append(salt, body...))}.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	h := hmac.New(sha256.New, key.Derive(keys.EnvelopeMAC))
	h.Write([]byte(id))
	h.Write(envelope)
	s.run(`insert into "AuditLog" (id, at, action, outcome, writer, counter, salt, body) values ($1, $2, $3, 'SUCCESS', $4, $5, $6, $7)`,
		id, at.UnixMicro(), action, writer, int64(counter), salt, body)
	s.run(`insert into audit_pending (writer, counter, event_id, envelope, mac) values ($1, $2, $3, $4, $5)`, writer, int64(counter), id, envelope, h.Sum(nil))
	return id
}

// sign makes a checkpoint's note with a key, whoever's it is.
func (s *site) sign(key *keys.Key, size int64, root []byte, at time.Time) string {
	s.t.Helper()
	skey := privateOf(key)
	signer, err := note.NewSigner(skey)
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\ntime %s\n", origin, size, base64.StdEncoding.EncodeToString(root), at.UTC().Format("2006-01-02T15:04:05.000000Z"))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(signed)
}

// privateOf is a key as a note signer's text.
func privateOf(key *keys.Key) string {
	text, err := audit.VerifierKey(origin, key)
	if err != nil {
		panic(err)
	}
	hash := strings.Split(text, "+")[1]
	return "PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, key.Secret()...))
}

// tables of the sealed log, without what tells who leads.
var sealedTables = []string{"audit_tree", "audit_bundle", "audit_tile", "audit_leaf", "audit_checkpoint", "audit_key", `"AuditLog"`}

func copyName(table string) string { return "old_" + strings.Trim(table, `"`) }

// backup copies the log as it is; restore puts it back.
func (s *site) backup() {
	s.t.Helper()
	for _, table := range sealedTables {
		s.run(`create table ` + copyName(table) + ` as select * from ` + table)
	}
}

func (s *site) restore() {
	s.t.Helper()
	for _, table := range sealedTables {
		s.execute(`delete from `+table, `insert into `+table+` select * from `+copyName(table))
	}
	s.execute(`delete from audit_writer`, `delete from audit_pending`, `update audit_tree set lease_until = 0`)
}

// newest gives the newest checkpoint, as somebody keeps it outside.
func (s *site) newest() string {
	s.t.Helper()
	c, err := s.log.Checkpoint(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Note
}

func other() *keys.Key { return keys.NewKey("ffffffffffffffff", []byte(strings.Repeat("x", 32))) }

func idBytes(id string) []byte { u := uuid.MustParse(id); return u[:] }
