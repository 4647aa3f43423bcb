package rotation_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/rotation"
	"sealpost/store"
	"sealpost/store/storetest"
)

// secret is one of 32 bytes that no other is like.
func secret(fill byte) []byte { return bytes.Repeat([]byte{fill, 0x5a, fill ^ 0xff, 'x'}, 8) }

func secrets() rotation.Secrets {
	return rotation.Secrets{JWT: secret(1), Data: secret(2), Audit: secret(3)}
}

// load starts a server: it loads the secrets on a database.
func load(t *testing.T, st *store.Store, s rotation.Secrets) (*keys.Set, *audit.Log, error) {
	t.Helper()
	log := audit.New(st, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { log.Close(context.Background()) })
	set, err := rotation.Load(t.Context(), log, s)
	return set, log, err
}

func mustLoad(t *testing.T, st *store.Store, s rotation.Secrets) *keys.Set {
	t.Helper()
	set, _, err := load(t, st, s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// firstSeen gives the key ids of the events that tell of new secrets, by the secret's name.
func firstSeen(t *testing.T, st *store.Store) map[string][]string {
	t.Helper()
	log := audit.New(st, slog.New(slog.DiscardHandler))
	list, err := log.Events(t.Context(), audit.Filter{Action: "secret.first_seen"}, store.Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]string{}
	for _, r := range list.Items {
		if r.Entity != "Secret" || r.Actor.Kind != audit.System || r.Outcome != audit.Success {
			t.Errorf("the event is %+v", r)
		}
		seen[r.EntityID] = append(seen[r.EntityID], fmt.Sprint(r.Details["keyId"]))
	}
	return seen
}

func ids(set *keys.Set) [3]string {
	return [3]string{set.JWT.Current().ID, set.Data.Current().ID, set.Audit.Current().ID}
}

// A secret has the same id at each start, and its first one is an event.
func TestEachStartFindsTheSameIDs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		first := mustLoad(t, st, secrets())
		for range 3 {
			if again := mustLoad(t, st, secrets()); ids(again) != ids(first) {
				t.Errorf("the ids are %v, and were %v", ids(again), ids(first))
			}
		}
		if first.JWT.Previous() != nil || first.Data.Previous() != nil || first.Audit.Previous() != nil {
			t.Error("there are previous keys")
		}
		seen := firstSeen(t, st)
		for i, name := range []string{"JWT_SECRET", "DATA_ENCRYPTION_KEY", "AUDIT_SIGNING_KEY"} {
			if len(seen[name]) != 1 || seen[name][0] != ids(first)[i] {
				t.Errorf("%s was first seen as %v, want %s", name, seen[name], ids(first)[i])
			}
		}
		if !bytes.Equal(first.JWT.Current().Secret(), secret(1)) || !bytes.Equal(first.Data.Current().Secret(), secret(2)) || !bytes.Equal(first.Audit.Current().Secret(), secret(3)) {
			t.Error("the keys are not those that were given")
		}
	})
}

// Servers that start together with the same new secrets agree on their ids, and each is one event.
func TestServersThatStartTogetherAgree(t *testing.T) {
	url := storetest.PostgresURL(t)
	const servers = 6
	sets := make([]*keys.Set, servers)
	var wg sync.WaitGroup
	for i := range sets {
		st := storetest.Open(t, url)
		wg.Go(func() {
			set, _, err := load(t, st, secrets())
			if err != nil {
				t.Error(err)
			}
			sets[i] = set
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	box, err := sets[0].Data.Encrypt(keys.JobPayload, "place", []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	for i, set := range sets {
		if ids(set) != ids(sets[0]) {
			t.Errorf("server %d has %v, server 0 %v", i, ids(set), ids(sets[0]))
		}
		if value, err := set.Data.Decrypt(keys.JobPayload, "place", box); err != nil || string(value) != "value" {
			t.Errorf("server %d cannot read what server 0 wrote: %v", i, err)
		}
	}
	for name, seen := range firstSeen(t, storetest.Open(t, url)) {
		if len(seen) != 1 {
			t.Errorf("%s was first seen %d times", name, len(seen))
		}
	}
}

// A new secret gets a new id and one event, the one before keeps its own; going back to an old secret
// gives its old id and no event.
func TestANewSecretAndAnOldOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		first := mustLoad(t, st, secrets())
		s := secrets()
		s.JWT, s.JWTPrevious = secret(11), secret(1)
		s.Audit, s.AuditPrevious = secret(13), secret(3)
		mustLoad(t, st, s)
		seen := firstSeen(t, st)
		if len(seen["JWT_SECRET"]) != 2 || len(seen["AUDIT_SIGNING_KEY"]) != 2 || len(seen["DATA_ENCRYPTION_KEY"]) != 1 {
			t.Errorf("first seen were %v", seen)
		}
		set := mustLoad(t, st, s)
		if set.JWT.Find(ids(first)[0]) == nil || set.Audit.Find(ids(first)[2]) == nil {
			t.Error("the previous keys have lost their ids")
		}
		back := mustLoad(t, st, secrets())
		if ids(back) != ids(first) {
			t.Errorf("back at the old secrets the ids are %v, and were %v", ids(back), ids(first))
		}
		if again := firstSeen(t, st); len(again["JWT_SECRET"]) != 2 {
			t.Errorf("going back was an event: %v", again)
		}
	})
}

// One word for two secrets is two secrets: an id tells of what a key is for.
func TestOneWordForTwoSecrets(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	set := mustLoad(t, st, rotation.Secrets{JWT: secret(1), Data: secret(1), Audit: secret(1)})
	if i := ids(set); i[0] == i[1] || i[1] == i[2] || i[0] == i[2] {
		t.Errorf("the ids are %v", i)
	}
}

// A previous secret that is the current one says that nothing has been rotated.
func TestThePreviousSecretIsTheCurrentOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := secrets()
		s.JWTPrevious, s.DataPrevious, s.AuditPrevious = s.JWT, s.Data, s.Audit
		set := mustLoad(t, st, s)
		if set.JWT.Previous() != nil || set.Data.Previous() != nil || set.Audit.Previous() != nil {
			t.Error("a key is its own previous one")
		}
	})
}

func TestEverySecretIsNeeded(t *testing.T) {
	st := storetest.Open(t, storetest.SQLiteURL(t))
	for name, s := range map[string]rotation.Secrets{
		"JWT_SECRET":          {Data: secret(2), Audit: secret(3)},
		"DATA_ENCRYPTION_KEY": {JWT: secret(1), Audit: secret(3)},
		"AUDIT_SIGNING_KEY":   {JWT: secret(1), Data: secret(2)},
	} {
		if _, _, err := load(t, st, s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// With another data key nothing that is encrypted could be read, so the program does not start.
func TestWrongDataKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		mustLoad(t, st, secrets())
		for what, s := range map[string]rotation.Secrets{
			"another one":             {JWT: secret(1), Data: secret(22), Audit: secret(3)},
			"another one, and before": {JWT: secret(1), Data: secret(22), DataPrevious: secret(23), Audit: secret(3)},
		} {
			if _, _, err := load(t, st, s); !errors.Is(err, rotation.ErrWrongDataKey) {
				t.Errorf("%s: %v", what, err)
			}
		}
		mustLoad(t, st, secrets())
	})
}

// After a rotation the previous data key reads on, and the ids of all secrets stay.
func TestThePreviousDataKeyReadsOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		first := mustLoad(t, st, secrets())
		box, err := first.Data.Encrypt(keys.JobPayload, "place", []byte("value"))
		if err != nil {
			t.Fatal(err)
		}
		s := secrets()
		s.Data, s.DataPrevious = secret(22), secret(2)
		for range 2 {
			set := mustLoad(t, st, s)
			if value, err := set.Data.Decrypt(keys.JobPayload, "place", box); err != nil || string(value) != "value" {
				t.Errorf("%q, %v", value, err)
			}
			if ids(set)[0] != ids(first)[0] || ids(set)[2] != ids(first)[2] || set.Data.Find(ids(first)[1]) == nil {
				t.Errorf("the ids are %v, and were %v", ids(set), ids(first))
			}
		}
	})
}

// No table has a secret, in whatever form, nor a hash by which one could be guessed.
func TestNoSecretIsInTheDatabase(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		s := secrets()
		s.JWTPrevious, s.DataPrevious, s.AuditPrevious = secret(4), secret(5), secret(6)
		s.OpenAI, s.DatabasePassword = []byte("sk-a-key-of-another-program"), []byte("hunter2-and-more")
		set := mustLoad(t, st, s)
		everything := dump(t, st)
		if len(everything) == 0 || !bytes.Contains(everything, []byte(set.JWT.Current().ID)) {
			t.Fatal("nothing was dumped")
		}
		hashes := []func([]byte) []byte{
			func(b []byte) []byte { return b },
			func(b []byte) []byte { h := md5.Sum(b); return h[:] },
			func(b []byte) []byte { h := sha1.Sum(b); return h[:] },
			func(b []byte) []byte { h := sha256.Sum256(b); return h[:] },
			func(b []byte) []byte { h := sha512.Sum512(b); return h[:] },
		}
		named := map[string][]byte{
			"JWT_SECRET": s.JWT, "JWT_SECRET_PREVIOUS": s.JWTPrevious, "DATA_ENCRYPTION_KEY": s.Data, "DATA_ENCRYPTION_KEY_PREVIOUS": s.DataPrevious,
			"AUDIT_SIGNING_KEY": s.Audit, "AUDIT_SIGNING_KEY_PREVIOUS": s.AuditPrevious, "OPENAI_API_KEY": s.OpenAI, "the database's password": s.DatabasePassword,
		}
		for name, word := range named {
			for _, text := range [][]byte{word, append([]byte(name), word...), append([]byte(name+"\x00"), word...)} {
				for i, hash := range hashes {
					b := hash(text)
					for form, looks := range map[string][]byte{
						"bytes": b, "hex": []byte(hex.EncodeToString(b)), "base64": []byte(base64.RawStdEncoding.EncodeToString(b)),
					} {
						if bytes.Contains(everything, looks) {
							t.Errorf("%s is in the database, as the %s of hash %d", name, form, i)
						}
					}
				}
			}
		}
	})
}

// dump gives every value of every table.
func dump(t *testing.T, st *store.Store) []byte {
	t.Helper()
	list := `select name from sqlite_schema where type = 'table'`
	if st.Dialect() == store.Postgres {
		list = `select quote_ident(relname) from pg_class where relkind = 'r' and relnamespace = 'public' :: regnamespace`
	}
	var tables []string
	var out bytes.Buffer
	err := st.Read(t.Context(), func(tx *store.Tx) error {
		err := tx.Each(t.Context(), func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			tables = append(tables, name)
			return err
		}, list)
		if err != nil {
			return err
		}
		for _, table := range tables {
			rows, err := tx.Query(t.Context(), `select * from `+table)
			if err != nil {
				return err
			}
			columns, err := rows.Columns()
			if err != nil {
				return errors.Join(err, rows.Close())
			}
			for rows.Next() {
				values, to := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					to[i] = &values[i]
				}
				if err := rows.Scan(to...); err != nil {
					return errors.Join(err, rows.Close())
				}
				for _, v := range values {
					if b, ok := v.([]byte); ok {
						out.Write(b)
					} else {
						fmt.Fprint(&out, v)
					}
					out.WriteByte('\n')
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
