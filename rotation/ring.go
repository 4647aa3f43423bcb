// Package rotation keeps the secrets in use (runbook §3): which one is current, which one before it
// still verifies, and since when each is in use, known by a keyed fingerprint and not by its word.
package rotation

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
)

// Secrets are the values that an operator keeps; a previous one may be empty.
type Secrets struct {
	JWT, JWTPrevious, Data, DataPrevious, Audit, AuditPrevious []byte
}

// ErrWrongDataKey says that DATA_ENCRYPTION_KEY is not the key, nor the successor of the key, that
// this database was encrypted with.
var ErrWrongDataKey = errors.New("DATA_ENCRYPTION_KEY does not fit this database: give the key it was encrypted with " +
	"(as DATA_ENCRYPTION_KEY_PREVIOUS, if it has been rotated)")

// fingerprintKeyID marks the one value that is encrypted before key ids are known.
const fingerprintKeyID = "0000000000000000"

// Load gives each secret its random id, the same one on every server and at each start, and hands
// the audit log its key. A secret that is seen for the first time is recorded.
func Load(ctx context.Context, log *audit.Log, s Secrets) (*keys.Set, error) {
	for _, v := range []struct {
		name             string
		secret, previous *[]byte
	}{
		{"JWT_SECRET", &s.JWT, &s.JWTPrevious},
		{"DATA_ENCRYPTION_KEY", &s.Data, &s.DataPrevious},
		{"AUDIT_SIGNING_KEY", &s.Audit, &s.AuditPrevious},
	} {
		if len(*v.secret) == 0 {
			return nil, fmt.Errorf("%s is empty", v.name)
		}
		if bytes.Equal(*v.secret, *v.previous) {
			*v.previous = nil // nothing has been rotated
		}
	}
	fingerprintKey, err := loadFingerprintKey(ctx, log, s)
	if err != nil {
		return nil, fmt.Errorf("load the fingerprint key: %w", err)
	}
	for try := 1; ; try++ {
		set, err := register(ctx, log, fingerprintKey, s)
		if store.Unique(err) && try < 3 {
			continue // another server that starts with the same new secret was first
		}
		return set, err
	}
}

// loadFingerprintKey reads the key of all fingerprints, made at the first start. Where it is still
// wrapped with the previous data key it is wrapped anew, so that the previous one can go.
func loadFingerprintKey(ctx context.Context, log *audit.Log, s Secrets) ([]byte, error) {
	value, outdated, err := readFingerprintKey(ctx, log, s)
	switch {
	case store.NoRow(err):
		value = make([]byte, 32)
		_, _ = rand.Read(value)
		err = log.Bookkeep(ctx, func(tx *store.Tx) error {
			box, err := wrap(s.Data, value)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `insert into secret_fingerprint_key (id, wrapped) values (1, $1) on conflict (id) do nothing`, box)
			return err
		})
		if err != nil {
			return nil, err
		}
		value, _, err = readFingerprintKey(ctx, log, s) // another server's, where that one was first
	case err == nil && outdated != nil:
		err = log.Bookkeep(ctx, func(tx *store.Tx) error {
			box, err := wrap(s.Data, value)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `update secret_fingerprint_key set wrapped = $1 where id = 1 and wrapped = $2`, box, outdated)
			return err
		})
	}
	return value, err
}

// readFingerprintKey also gives the row's value, where that is wrapped with the previous data key.
func readFingerprintKey(ctx context.Context, log *audit.Log, s Secrets) (value, outdated []byte, err error) {
	var box []byte
	err = log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select wrapped from secret_fingerprint_key where id = 1`).Scan(&box)
	})
	if err != nil {
		return nil, nil, err
	}
	if value, err = unwrap(s.Data, box); err == nil {
		return value, nil, nil
	}
	if len(s.DataPrevious) > 0 {
		if value, err = unwrap(s.DataPrevious, box); err == nil {
			return value, box, nil
		}
	}
	return nil, nil, ErrWrongDataKey
}

func wrap(dataKey, value []byte) ([]byte, error) {
	return keys.NewRing(keys.NewKey(fingerprintKeyID, dataKey), nil).Encrypt(keys.FingerprintKey, "1", value)
}

func unwrap(dataKey, box []byte) ([]byte, error) {
	return keys.NewRing(keys.NewKey(fingerprintKeyID, dataKey), nil).Decrypt(keys.FingerprintKey, "1", box)
}

// register finds each secret's id by its fingerprint, and records those that are new.
func register(ctx context.Context, log *audit.Log, fingerprintKey []byte, s Secrets) (*keys.Set, error) {
	type version struct {
		name   string
		secret []byte
		print  string
		key    *keys.Key
	}
	versions := []*version{
		{name: "JWT_SECRET", secret: s.JWT},
		{name: "JWT_SECRET", secret: s.JWTPrevious},
		{name: "DATA_ENCRYPTION_KEY", secret: s.Data},
		{name: "DATA_ENCRYPTION_KEY", secret: s.DataPrevious},
		{name: "AUDIT_SIGNING_KEY", secret: s.Audit},
		{name: "AUDIT_SIGNING_KEY", secret: s.AuditPrevious},
	}
	var fresh []*version
	err := log.Store().Read(ctx, func(tx *store.Tx) error {
		for _, v := range versions {
			if len(v.secret) == 0 {
				continue
			}
			v.print = fingerprint(fingerprintKey, v.name, v.secret)
			var id string
			err := tx.QueryRow(ctx, `select id from secret_version where name = $1 and fingerprint = $2`, v.name, v.print).Scan(&id)
			switch {
			case store.NoRow(err):
				id = keys.NewID()
				fresh = append(fresh, v)
			case err != nil:
				return err
			}
			v.key = keys.NewKey(id, v.secret)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the secrets' ids: %w", err)
	}
	set := &keys.Set{
		JWT:   keys.NewRing(versions[0].key, versions[1].key),
		Data:  keys.NewRing(versions[2].key, versions[3].key),
		Audit: keys.NewRing(versions[4].key, versions[5].key),
	}
	log.Use(set.Audit)
	if len(fresh) == 0 {
		return set, nil
	}
	err = log.Change(ctx, audit.Itself("rotation"), func(tx *store.Tx) ([]audit.Event, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		var events []audit.Event
		for _, v := range fresh {
			_, err := tx.Exec(ctx, `insert into secret_version (id, name, fingerprint, first_seen) values ($1, $2, $3, $4)`,
				v.key.ID, v.name, v.print, now.UnixMicro())
			if err != nil {
				return nil, err
			}
			events = append(events, audit.Event{
				Action: "secret.first_seen", Entity: "Secret", EntityID: v.name, Details: map[string]any{"keyId": v.key.ID},
			})
		}
		return events, nil
	})
	if err != nil {
		return nil, fmt.Errorf("record new secrets: %w", err)
	}
	return set, nil
}

// fingerprint tells a secret again without keeping it: a keyed hash, so that a stolen database does
// not allow guesses at a weak one.
func fingerprint(key []byte, name string, secret []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(secret)
	return hex.EncodeToString(h.Sum(nil))
}
