package rotation

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"sealpost/audit"
	"sealpost/keys"
	"sealpost/store"
)

// The names of the secrets that are tracked, beside each endpoint's ("endpoint:" and its
// id) and each API key ("api-key:" and its id).
const (
	JWTSecret         = "JWT_SECRET"
	DataEncryptionKey = "DATA_ENCRYPTION_KEY"
	AuditSigningKey   = "AUDIT_SIGNING_KEY"
	OpenAIKey         = "OPENAI_API_KEY"
	DatabasePassword  = "DATABASE_PASSWORD"
	EndpointPrefix    = "endpoint:"
	APIKeyPrefix      = "api-key:"
)

// value is one secret as it is configured.
type value struct {
	name              string
	current, previous []byte
}

// values are all of them, the three of our own first.
func (s Secrets) values() []value {
	return []value{
		{JWTSecret, s.JWT, s.JWTPrevious},
		{DataEncryptionKey, s.Data, s.DataPrevious},
		{AuditSigningKey, s.Audit, s.AuditPrevious},
		{OpenAIKey, s.OpenAI, nil},
		{DatabasePassword, s.DatabasePassword, nil},
	}
}

// check refuses a program without its own keys, and leaves out a previous key that is the current one:
// nothing has been rotated.
func (s Secrets) check() (Secrets, error) {
	for _, v := range []struct {
		name              string
		current, previous *[]byte
	}{
		{JWTSecret, &s.JWT, &s.JWTPrevious},
		{DataEncryptionKey, &s.Data, &s.DataPrevious},
		{AuditSigningKey, &s.Audit, &s.AuditPrevious},
	} {
		if len(*v.current) == 0 {
			return s, fmt.Errorf("%s is empty", v.name)
		}
		if bytes.Equal(*v.current, *v.previous) {
			*v.previous = nil
		}
	}
	return s, nil
}

// version is a secret as it is known: a random id, and since when.
type version struct {
	name, print, id string
	firstSeen       time.Time
	key             *keys.Key
	fresh           bool // not in the table yet
}

func (v *version) keyID() string {
	if v == nil {
		return ""
	}
	return v.id
}

// versionOf finds a secret by its fingerprint; one that is new gets an id, and is still to be recorded.
func (k *Keeper) versionOf(ctx context.Context, tx *store.Tx, name string, secret []byte) (*version, error) {
	if len(secret) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	v := &version{name: name, print: fingerprint(k.fingerprintKey, name, secret)}
	if known := k.known[v.print]; known != nil {
		return known, nil
	}
	err := tx.QueryRow(ctx, `select id, first_seen from secret_version where name = $1 and fingerprint = $2`, name, v.print).
		Scan(&v.id, store.Time(&v.firstSeen))
	switch {
	case store.NoRow(err):
		v.id, v.fresh = keys.NewID(), true
	case err != nil:
		return nil, fmt.Errorf("read the id of %s: %w", name, err)
	}
	v.key = keys.NewKey(v.id, secret)
	return v, nil
}

// record dates a version. store.Unique where another server that has the same new secret was first.
func (v *version) record(ctx context.Context, tx *store.Tx, now time.Time) (audit.Event, error) {
	_, err := tx.Exec(ctx, `insert into secret_version (id, name, fingerprint, first_seen) values ($1, $2, $3, $4)`,
		v.id, v.name, v.print, now.UnixMicro())
	if err != nil {
		return audit.Event{}, fmt.Errorf("record a new secret: %w", err)
	}
	return secretEvent("secret.first_seen", v.name, map[string]any{"keyId": v.id}), nil
}

func secretEvent(action, name string, details map[string]any) audit.Event {
	return audit.Event{Action: action, Entity: "Secret", EntityID: name, Details: details}
}
