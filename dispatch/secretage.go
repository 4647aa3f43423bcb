package dispatch

import (
	"context"
	"fmt"
	"time"

	"sealpost/keys"
	"sealpost/store"
)

// SecretAge tells since when an endpoint has the secret that it has (runbook §3). Its credentials are a
// secret of their own, with an age of their own, which goes by the endpoint's id and CredentialsOf.
type SecretAge struct {
	EndpointID, Name string
	ChangedAt        time.Time
}

// CredentialsOf stands behind the id of an endpoint whose credentials are meant, not its signing secret.
const CredentialsOf = "/credentials"

// SecretAges tells it of every endpoint, the oldest endpoint first.
func (d *Dispatcher) SecretAges(ctx context.Context) ([]SecretAge, error) {
	var list []SecretAge
	err := d.log.Store().Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var a SecretAge
			var credentials time.Time
			err := scan(&a.EndpointID, &a.Name, store.Time(&a.ChangedAt), store.Time(&credentials))
			list = append(list, a)
			if !credentials.IsZero() {
				list = append(list, SecretAge{a.EndpointID + CredentialsOf, a.Name + " (credentials)", credentials})
			}
			return err
		}, `select id, name, coalesce(secret_changed_at, created_at), credentials_changed_at
		      from dispatch_endpoint where deleted_at is null order by id`)
	})
	if err != nil {
		return nil, fmt.Errorf("read the ages of endpoints' secrets: %w", err)
	}
	return list, nil
}

// Sealed lists what this package keeps encrypted, so that it can be encrypted anew when the key is
// rotated. What is in memory of it stays as it is: the values do not change.
func Sealed() []keys.Sealed {
	return []keys.Sealed{
		{Table: "dispatch_endpoint", Place: "id", Column: "secrets", Purpose: keys.EndpointCredentials},
		{Table: "dispatch_endpoint", Place: "id", Column: "credentials", Purpose: keys.EndpointAuth},
		{Table: "dispatch_payload", Place: "job_id", Column: "body", Purpose: keys.JobPayload},
		{Table: "dispatch_attempt", Place: "job_id", Column: "answer", Purpose: keys.AttemptAnswer},
	}
}
