package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sealpost/fault"
	"sealpost/keys"
	"sealpost/store"
)

// asGiven is the change that makes credentials of none.
func asGiven(c Credentials) CredentialsChange {
	return CredentialsChange{
		Auth:              Change[Auth]{true, c.Auth},
		ClientCertificate: Change[ClientCertificate]{true, c.ClientCertificate},
		CACertificates:    Change[string]{true, &c.CACertificates},
		Headers:           Change[map[string]string]{true, &c.Headers},
	}
}

// changeCredentials changes an endpoint's credentials, whose row is locked, and names the parts that
// differ. What is kept has to do with a new URL, too.
func (d *Dispatcher) changeCredentials(ctx context.Context, tx *store.Tx, e Endpoint, newURL string, c *CredentialsChange, now time.Time) ([]string, error) {
	if c == nil && newURL == e.URL {
		return nil, nil
	}
	if c == nil {
		c = &CredentialsChange{}
	}
	var old Credentials
	var box []byte
	if err := tx.QueryRow(ctx, `select credentials from dispatch_endpoint where id = $1`, e.ID).Scan(&box); err != nil {
		return nil, fmt.Errorf("read the credentials of endpoint %s: %w", e.ID, err)
	}
	old, err := d.openCredentials(e.ID, box)
	lost := errors.Is(err, keys.ErrCannotDecrypt)
	switch {
	case lost && !c.whole():
		return nil, fault.New(fault.Conflict, "what this endpoint has of credentials cannot be read by this server: give or remove all four parts of them")
	case err != nil && !lost:
		return nil, err
	}
	n, parts := c.apply(old)
	if !c.ClientCertificate.Given {
		now = time.Time{} // one that has ended meanwhile stands in the way of nothing else
	}
	if err := n.check(newURL, now); err != nil {
		return nil, err
	}
	if lost {
		parts = []string{"auth", "clientCertificate", "caCertificates", "headers"}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	return parts, d.writeCredentials(ctx, tx, e, old, n)
}

// writeCredentials keeps credentials that have been checked. The age of a secret that has changed counts
// from now on.
func (d *Dispatcher) writeCredentials(ctx context.Context, tx *store.Tx, e Endpoint, old, c Credentials) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	var box, text any // what is not there is null
	since := time.Time{}
	if !c.empty() {
		if box, err = d.sealCredentials(e.ID, c); err != nil {
			return err
		}
		shown, err := c.shown()
		if err != nil {
			return err
		}
		shown.Since = c.ages(old, e.Credentials.Since, now)
		since = shown.oldest()
		b, err := json.Marshal(shown)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if _, err := tx.Exec(ctx, `
		update dispatch_endpoint set credentials = $2, credentials_shown = $3, credentials_changed_at = $4 where id = $1`,
		e.ID, box, text, store.Micros(since)); err != nil {
		return fmt.Errorf("keep the credentials of endpoint %s: %w", e.ID, err)
	}
	return nil
}
