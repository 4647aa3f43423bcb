// Package rotation keeps the secrets in use (runbook §3): which one is current, which one before it
// still verifies, and since when each is in use, known by a keyed fingerprint and not by its word.
//
// A secret that is seen for the first time gets a random id and is dated (versions.go). That date is its
// age, whatever anybody records: going back to an old secret keeps its old age. A Keeper (keeper.go)
// reads the secret files again when they change, and gives the running program its new keys in place.
// Where several servers share a database none signs with a new key before all of them have it
// (inuse.go, nodes.go). The one before verifies until its tokens have expired, and decrypts until
// everything at rest has been encrypted anew (reencrypt.go); a rotation after a leak has no such
// window. What an operator says about a rotation is recorded (record.go) and held against what really
// changed (status.go).
package rotation

import (
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

	// Those of others, whose age counts too; empty where there is none.
	OpenAI, DatabasePassword []byte
}

// ErrWrongDataKey says that DATA_ENCRYPTION_KEY is not the key, nor the successor of the key, that
// this database was encrypted with.
var ErrWrongDataKey = errors.New("DATA_ENCRYPTION_KEY does not fit this database: give the key it was encrypted with " +
	"(as DATA_ENCRYPTION_KEY_PREVIOUS, if it has been rotated)")

// fingerprintKeyID marks the one value that is encrypted before key ids are known.
const fingerprintKeyID = "0000000000000000"

// Load gives each secret its random id, the same one on every server and at each start, and hands
// the audit log its key. A secret that is seen for the first time is recorded. It is Open for a
// program whose secrets do not change while it runs.
func Load(ctx context.Context, log *audit.Log, s Secrets) (*keys.Set, error) {
	k, err := open(ctx, log, s, Options{})
	if err != nil {
		return nil, err
	}
	return k.set, nil
}

// loadFingerprintKey reads the key of all fingerprints, made at the first start.
func loadFingerprintKey(ctx context.Context, log *audit.Log, s Secrets) ([]byte, error) {
	value, err := readFingerprintKey(ctx, log.Store(), s)
	if !store.NoRow(err) {
		return value, err
	}
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
	return readFingerprintKey(ctx, log.Store(), s) // another server's, where that one was first
}

// readFingerprintKey opens it with the data key or the one before. ErrWrongDataKey.
func readFingerprintKey(ctx context.Context, st *store.Store, s Secrets) (value []byte, err error) {
	var box []byte
	err = st.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select wrapped from secret_fingerprint_key where id = 1`).Scan(&box)
	})
	if err != nil {
		return nil, err
	}
	if value, err = unwrap(s.Data, box); err == nil {
		return value, nil
	}
	if len(s.DataPrevious) > 0 {
		if value, err = unwrap(s.DataPrevious, box); err == nil {
			return value, nil
		}
	}
	return nil, ErrWrongDataKey
}

// rewrapFingerprintKey wraps it with the data key, in the transaction in which that comes into use, so
// that the one before can go.
func rewrapFingerprintKey(ctx context.Context, tx *store.Tx, s Secrets, value []byte) error {
	var box []byte
	err := tx.QueryRow(ctx, `select wrapped from secret_fingerprint_key where id = 1`+tx.ForUpdate()).Scan(&box)
	if err != nil {
		return fmt.Errorf("read the fingerprint key: %w", err)
	}
	if _, err := unwrap(s.Data, box); err == nil {
		return nil
	}
	if box, err = wrap(s.Data, value); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `update secret_fingerprint_key set wrapped = $1 where id = 1`, box); err != nil {
		return fmt.Errorf("wrap the fingerprint key anew: %w", err)
	}
	return nil
}

func wrap(dataKey, value []byte) ([]byte, error) {
	return keys.NewRing(keys.NewKey(fingerprintKeyID, dataKey), nil).Encrypt(keys.FingerprintKey, "1", value)
}

func unwrap(dataKey, box []byte) ([]byte, error) {
	return keys.NewRing(keys.NewKey(fingerprintKeyID, dataKey), nil).Decrypt(keys.FingerprintKey, "1", box)
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
