package audit

import (
	"context"
	"fmt"

	"sealpost/keys"
	"sealpost/store"
)

const (
	reencryptRows  = 200     // places that one call looks at
	reencryptBytes = 4 << 20 // that one transaction encrypts, and the value at which that is passed
)

// Reencrypted is what one call of Reencrypt did.
type Reencrypted struct {
	Next    string // the place to go on behind; "": that was the end
	Changed int
	Failed  int // values that no key of the ring opens
}

// Reencrypt encrypts anew, with the ring's current key, what a column still holds under another one, so
// that the key before can go (runbook §3). One call looks at a piece of the table, behind the place
// after. A value that changes meanwhile is left to whoever changes it, who has the current key.
func (l *Log) Reencrypt(ctx context.Context, by Principal, ring *keys.Ring, s keys.Sealed, after string) (Reencrypted, error) {
	bound, places, err := l.sealedOtherwise(ctx, ring.Current().ID, s, after)
	if err != nil {
		return Reencrypted{}, fmt.Errorf("look for values to encrypt anew in %s: %w", s.Table, err)
	}
	r := Reencrypted{Next: bound}
	for len(places) > 0 {
		var done, changed, failed int
		err := l.Change(ctx, by, func(tx *store.Tx) ([]Event, error) {
			done, changed, failed = 0, 0, 0
			for bytes := 0; done < len(places) && bytes < reencryptBytes; done++ {
				n, size, bad, err := reencryptPlace(ctx, tx, ring, s, places[done])
				if err != nil {
					return nil, err
				}
				changed, bytes, failed = changed+n, bytes+size, failed+bad
			}
			if changed == 0 {
				return nil, ErrNothing
			}
			return []Event{{
				Action: "secret.values_reencrypted", Entity: "Secret", EntityID: "DATA_ENCRYPTION_KEY",
				Details: map[string]any{"table": s.Table, "count": changed, "keyId": ring.Current().ID},
			}}, nil
		})
		if err != nil {
			return r, fmt.Errorf("encrypt anew in %s: %w", s.Table, err)
		}
		r.Changed, r.Failed, places = r.Changed+changed, r.Failed+failed, places[done:]
	}
	return r, nil
}

// sealedOtherwise finds, in the next piece of a table, the places with a value under another key. It
// reads a value's head only.
func (l *Log) sealedOtherwise(ctx context.Context, keyID string, s keys.Sealed, after string) (bound string, places []string, err error) {
	err = l.st.Read(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(ctx, `
			select max(place) from (select `+s.Place+` as place from `+s.Table+`
			 where `+s.Place+` > $1 and `+s.Column+` is not null order by `+s.Place+` limit $2) as piece`, after, reencryptRows).
			Scan(store.String(&bound))
		if err != nil || bound == "" {
			return err
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var place string
			var head []byte
			if err := scan(&place, &head); err != nil {
				return err
			}
			if keys.KeyIDOf(head) != keyID && (len(places) == 0 || places[len(places)-1] != place) {
				places = append(places, place)
			}
			return nil
		}, `select `+s.Place+`, substr(`+s.Column+`, 1, $3) from `+s.Table+`
		     where `+s.Place+` > $1 and `+s.Place+` <= $2 and `+s.Column+` is not null order by `+s.Place, after, bound, 1+keys.IDBytes)
	})
	return bound, places, err
}

// reencryptPlace encrypts anew the values of one place, of which a table may have several rows.
func reencryptPlace(ctx context.Context, tx *store.Tx, ring *keys.Ring, s keys.Sealed, place string) (changed, size, failed int, err error) {
	var boxes [][]byte
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var box []byte
		err := scan(store.Bytes(&box))
		boxes = append(boxes, box)
		return err
	}, `select `+s.Column+` from `+s.Table+` where `+s.Place+` = $1 and `+s.Column+` is not null`, place)
	if err != nil {
		return 0, 0, 0, err
	}
	for _, box := range boxes {
		if keys.KeyIDOf(box) == ring.Current().ID {
			continue
		}
		value, err := ring.Decrypt(s.Purpose, place, box)
		if err != nil {
			failed++
			continue
		}
		fresh, err := ring.Encrypt(s.Purpose, place, value)
		if err != nil {
			return 0, 0, 0, err
		}
		n, err := tx.Exec(ctx, `update `+s.Table+` set `+s.Column+` = $1 where `+s.Place+` = $2 and `+s.Column+` = $3`, fresh, place, box)
		if err != nil {
			return 0, 0, 0, err
		}
		changed, size = changed+int(n), size+len(box)
	}
	return changed, size, failed, nil
}
