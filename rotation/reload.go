package rotation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sealpost/audit"
	"sealpost/config"
)

// reloadEvery is how often the secret files are looked at.
const reloadEvery = 2 * time.Second

// Run keeps the secrets until ctx ends: it reads changed files again, waits for the other servers, ends
// windows, and encrypts anew what is still under the data key before.
func (k *Keeper) Run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { k.runReencrypt(ctx) })
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	failing := ""
	for {
		_, err := k.Reload(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != failing:
			k.o.Logger.Error("the secrets could not be looked at; they stay as they are", "error", err)
			failing = err.Error()
		case err == nil:
			failing = ""
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// State tells how a secret of ours stands on this server.
type State struct {
	Secret        string     `json:"secret"`
	KeyID         string     `json:"keyId" doc:"Of the version that signs or encrypts"`
	Since         time.Time  `json:"since" doc:"When that came into use"`
	NextKeyID     string     `json:"nextKeyId,omitempty" doc:"Of a new version that is loaded, and waits"`
	WaitsFor      []string   `json:"waitsFor,omitempty" doc:"The servers that have not got the newest version"`
	PreviousKeyID string     `json:"previousKeyId,omitempty" doc:"Of the version that still verifies or decrypts"`
	PreviousUntil *time.Time `json:"previousUntil,omitempty" doc:"Until when it does; without it, until it is taken away"`
	Settled       bool       `json:"settled" doc:"Whether nothing needs the version before it any more"`
	Problem       string     `json:"problem,omitempty" doc:"Why what its file holds is not used"`
}

// Reload reads the secret files again and puts what has changed into use, as far as the other servers
// let it. A bad value is not used: the old one stays, which is logged and recorded once.
func (k *Keeper) Reload(ctx context.Context) ([]State, error) {
	k.working.Lock()
	defer k.working.Unlock()
	next, problems := k.sources.reload()
	values, err := next.reveal().check()
	if err != nil {
		return nil, err
	}
	refused, err := k.arrange(ctx, values)
	if err != nil {
		return nil, fmt.Errorf("reload the secrets: %w", err)
	}
	for name, why := range refused {
		problems[name] = why.Error()
	}
	if k.o.OpenAIChanged != nil && !next.OpenAI.Equal(k.sources.OpenAI) {
		k.o.OpenAIChanged(next.OpenAI)
	}
	k.sources = next
	err = errors.Join(k.tell(ctx, problems), k.announce(ctx))
	return k.states(), err
}

// field is one of the secrets that may be in a file.
type field struct {
	name string // of the secret that it is, or is the previous one of
	at   *config.Secret
}

func (s *Sources) fields() []field {
	return []field{
		{JWTSecret, &s.JWT},
		{DataEncryptionKey, &s.Data},
		{AuditSigningKey, &s.Audit},
		{OpenAIKey, &s.OpenAI},
		{JWTSecret, &s.JWTPrevious},
		{DataEncryptionKey, &s.DataPrevious},
		{AuditSigningKey, &s.AuditPrevious},
	}
}

// reload reads the files. What is wrong with one leaves the value as it was.
func (s Sources) reload() (next Sources, problems map[string]string) {
	next, problems = s, map[string]string{}
	for _, f := range next.fields() {
		value, _, err := f.at.Reload()
		if err != nil {
			problems[f.name] = err.Error()
			continue
		}
		*f.at = value
	}
	// One value in two places is lost for both when one leaks; the configuration refuses it too.
	old, fields := s.fields(), next.fields()
	for i, f := range fields {
		for _, other := range fields {
			if f.name != other.name && !f.at.Equal(*old[i].at) && f.at.Overlaps(*other.at) {
				problems[f.name] = fmt.Sprintf("reload %s: it holds the value of %s", f.name, other.name)
				*f.at = *old[i].at
			}
		}
	}
	return next, problems
}

// tell logs and records what is newly wrong, and logs what no longer is.
func (k *Keeper) tell(ctx context.Context, problems map[string]string) error {
	k.mu.Lock()
	before := k.problems
	k.problems = problems
	k.mu.Unlock()
	var errs []error
	for name, why := range problems {
		if before[name] == why {
			continue
		}
		k.o.Logger.Error("a changed secret is not used; the old one stays", "secret", name, "problem", why)
		e := secretEvent("secret.change_refused", name, map[string]any{"problem": why})
		e.Outcome = audit.Failure
		errs = append(errs, k.log.Record(ctx, audit.Itself("rotation"), e))
	}
	for name := range before {
		if problems[name] == "" {
			k.o.Logger.Info("the secret can be used again", "secret", name)
		}
	}
	return errors.Join(errs...)
}

func (k *Keeper) states() []State {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []State
	for _, s := range k.slots[:ownSecrets] {
		st := State{
			Secret: s.name, KeyID: s.inUse().id, Since: s.since, WaitsFor: k.waitsFor[s.name],
			Settled: s.settled || s.name != DataEncryptionKey, Problem: k.problems[s.name],
		}
		switch {
		case s.waits:
			st.NextKeyID = s.current.id
		case s.previous != nil:
			st.PreviousKeyID = s.previous.id
			if !s.until.IsZero() {
				st.PreviousUntil = &s.until
			}
		}
		list = append(list, st)
	}
	return list
}
