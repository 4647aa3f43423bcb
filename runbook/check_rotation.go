package runbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/audit"
	"sealpost/fault"
	"sealpost/keys"
	"sealpost/rotation"
	"sealpost/store"
)

// What the secrets in use say about the runbook's §3. Only a running server knows them.

// maxSecretAge is the runbook's own number, in days. SECRET_ROTATION_MAX_AGE_DAYS may be stricter.
const maxSecretAge = 90

var errNoKeeper = errors.New("only a running server knows which secrets it uses")

func (c *Checker) rotationStatus(ctx context.Context) (rotation.Status, error) {
	if c.o.Rotation == nil {
		return rotation.Status{}, errNoKeeper
	}
	return c.o.Rotation.Status(ctx)
}

func secretAges(ctx context.Context, c *Checker) (Finding, error) {
	s, err := c.rotationStatus(ctx)
	if err != nil {
		return Finding{}, err
	}
	return decideAges(s), nil
}

func decideAges(s rotation.Status) Finding {
	most := min(maxSecretAge, s.PolicyDays)
	ages, stale := map[string]int{}, []string{}
	for _, t := range s.SecretsTracked {
		ages[t.Secret] = t.AgeDays
		if t.AgeDays > most {
			stale = append(stale, fmt.Sprintf("%s (%d days)", t.Secret, t.AgeDays))
		}
	}
	evidence := map[string]any{"ageDays": ages, "policyDays": most, "stale": stale}
	switch {
	case len(s.SecretsTracked) == 0:
		return found(false, evidence, "no secret is known to be in use")
	case len(stale) > 0:
		return found(false, evidence, "older than %d days: %s", most, strings.Join(stale, ", "))
	}
	return found(true, evidence, "all of %d secrets in use changed within the last %d days", len(s.SecretsTracked), most)
}

// secretWindow looks at the window of the previous signing key, and tries with keys made for it that a
// window is what it should be.
func secretWindow(_ context.Context, c *Checker) (Finding, error) {
	if c.o.Rotation == nil {
		return Finding{}, errNoKeeper
	}
	now, ring := c.o.Now(), c.o.Rotation.Keys().JWT
	w := window{trial: tryWindow(now)}
	if previous := ring.Previous(); previous != nil {
		w.previous = previous.ID
		w.open = ring.FindAt(previous.ID, now) != nil
		w.ends = ring.FindAt(previous.ID, now.Add(longestWindow)) == nil
	}
	return decideWindow(w), nil
}

// longestWindow is beyond the life of every token that the configuration allows.
const longestWindow = 31 * 24 * time.Hour

type window struct {
	previous   string // the id of the previous signing key; "" where there is none
	open, ends bool
	trial      error
}

func decideWindow(w window) Finding {
	evidence := map[string]any{"previousKeyId": w.previous, "open": w.open, "ends": w.ends, "trial": w.trial == nil}
	switch {
	case w.trial != nil:
		return found(false, evidence, "a trial with keys made for it failed: %v", w.trial)
	case w.previous == "":
		return found(true, evidence, "no window is open: JWT_SECRET_PREVIOUS is not set; in a trial one opened, ended, and after a leak was none")
	case !w.open:
		return found(true, evidence, "the window of the previous JWT_SECRET is over")
	}
	return found(w.ends, evidence, "the previous JWT_SECRET verifies; that ends: %t", w.ends)
}

// tryWindow rotates keys that nobody else has.
func tryWindow(now time.Time) error {
	before, after := keys.NewKey(keys.NewID(), []byte(keys.NewID())), keys.NewKey(keys.NewID(), []byte(keys.NewID()))
	ring, end := keys.NewRing(before, nil), now.Add(time.Hour)
	box, err := ring.Encrypt(keys.FingerprintKey, "trial", []byte("trial"))
	if err != nil {
		return err
	}
	ring.ReplaceUntil(after, before, end)
	if ring.FindAt(before.ID, now) == nil {
		return errors.New("the previous key does not verify within its window")
	}
	if _, err := ring.Decrypt(keys.FingerprintKey, "trial", box); err != nil {
		return fmt.Errorf("the previous key does not decrypt: %w", err)
	}
	if ring.FindAt(before.ID, end) != nil {
		return errors.New("the previous key verifies after its window")
	}
	ring.Replace(after, nil) // as after a leak
	if ring.FindAt(before.ID, now) != nil {
		return errors.New("the old key verifies after a leak")
	}
	return nil
}

// rotationRecord holds the latest record, and the changes that there ought to be one of.
func rotationRecord(ctx context.Context, c *Checker) (Finding, error) {
	s, err := c.rotationStatus(ctx)
	if err != nil {
		return Finding{}, err
	}
	changed := map[string]bool{}
	for _, t := range s.SecretsTracked {
		list, err := c.o.Log.Events(ctx, audit.Filter{Action: "secret.changed", EntityID: t.Secret}, store.Page{Limit: 1})
		if err != nil {
			return Finding{}, err
		}
		changed[t.Secret] = len(list.Items) > 0
	}
	return decideRecord(s, changed), nil
}

// decideRecord tells whether what was recorded last is whole and of real changes, and whether each real
// change (of a secret in changed) has a record.
func decideRecord(s rotation.Status, changed map[string]bool) Finding {
	var unrecorded, untrue []string
	for _, t := range s.SecretsTracked {
		named := s.LatestRotation != nil && slices.Contains(s.LatestRotation.Secrets, t.Secret)
		switch {
		case named && !t.RecordMatches:
			untrue = append(untrue, t.Secret)
		case changed[t.Secret] && !t.RecordMatches:
			unrecorded = append(unrecorded, t.Secret)
		}
	}
	evidence := map[string]any{"unrecorded": list(unrecorded), "notChanged": list(untrue)}
	if len(unrecorded) > 0 {
		return found(false, evidence, "changed, and no record tells of it: %s", strings.Join(unrecorded, ", "))
	}
	r := s.LatestRotation
	if r == nil {
		return Finding{Status: NotApplicable, Observed: "no secret has been rotated yet, so there is nothing to record", Evidence: evidence}
	}
	evidence["rotationId"], evidence["ticketId"] = r.ID, r.TicketID
	switch {
	case r.RotatedAt.IsZero() || r.Operator == "" || r.TicketID == "" || len(r.Secrets) == 0 || len(r.Environments) == 0 || r.RollbackPlan == "":
		return found(false, evidence, "the record of %s is not whole", r.RotatedAt.Format(time.RFC3339))
	case len(untrue) > 0:
		return found(false, evidence, "%s tells of secrets that did not change then: %s", r.TicketID, strings.Join(untrue, ", "))
	}
	return found(true, evidence, "%s, by %s on %s, is whole and matches what really changed", r.TicketID, r.Operator, r.RotatedAt.Format(time.RFC3339))
}

// rotationAnswers asks for the status, and tries a record that is not whole, which has to be refused and
// leaves nothing.
func rotationAnswers(ctx context.Context, c *Checker) (Finding, error) {
	s, err := c.rotationStatus(ctx)
	if err != nil {
		return Finding{}, err
	}
	_, err = c.o.Rotation.Record(ctx, audit.Itself("runbook"), rotation.NewRotation{})
	return decideAnswers(len(s.SecretsTracked), err), nil
}

func decideAnswers(tracked int, refusal error) Finding {
	refused := fault.Is(refusal, fault.Invalid)
	return found(tracked > 0 && refused, map[string]any{"secretsTracked": tracked, "emptyRecordRefused": refused},
		"status tells of %d secrets; a record that is not whole is refused: %t", tracked, refused)
}
