package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"sealpost/fault"
	"sealpost/store"
)

// onceFor is how long a first answer is given again.
const onceFor = 24 * time.Hour

// Once is a request that carries an Idempotency-Key: the same key and body, by the same caller on the
// same route, get the first answer again for 24 hours, and happen once. The zero value is a request
// without a key.
type Once struct {
	Caller string // who, so that no caller meets another's keys
	Route  string // "POST /api/documents"
	Key    string
	Body   []byte // as it was received
}

// Answer is what a request was answered with.
type Answer struct {
	Status int
	Body   []byte
}

// Keyed tells whether the request carries a key.
func (o Once) Keyed() bool { return o.Key != "" }

// Before looks for the first answer to a request, inside the transaction that would make a second.
// nil where this is the first. fault.Conflict where the key came with another body.
func (o Once) Before(ctx context.Context, tx *store.Tx) (*Answer, error) {
	if !o.Keyed() {
		return nil, nil
	}
	var first Answer
	var salt, hash []byte
	var created time.Time
	err := tx.QueryRow(ctx, `select salt, body_hash, status, answer, created_at from idempotency where caller = $1 and route = $2 and key = $3`,
		o.Caller, o.Route, o.Key).Scan(&salt, &hash, &first.Status, store.Bytes(&first.Body), store.Time(&created))
	if store.NoRow(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read an idempotency key: %w", err)
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	if !created.After(now.Add(-onceFor)) { // its day is over: the key is free again
		if _, err := tx.Exec(ctx, `delete from idempotency where caller = $1 and route = $2 and key = $3`,
			o.Caller, o.Route, o.Key); err != nil {
			return nil, fmt.Errorf("free an idempotency key: %w", err)
		}
		return nil, nil
	}
	if !bytes.Equal(hash, o.hash(salt)) {
		return nil, errKeyReused()
	}
	return &first, nil
}

// Again gives the answer to a request that carries the same key as another one in the same
// transaction. fault.Conflict where the bodies differ.
func (o Once) Again(first Once, answer Answer) (Answer, error) {
	if !bytes.Equal(o.Body, first.Body) {
		return Answer{}, errKeyReused()
	}
	return answer, nil
}

func errKeyReused() error {
	return fault.New(fault.Conflict, "this Idempotency-Key was used for another request")
}

// After keeps the first answer, in the transaction that made it. Two requests with one key at once
// meet at the row's key: the second one's transaction fails with store.Unique and is to run again.
func (o Once) After(ctx context.Context, tx *store.Tx, a Answer) error {
	if !o.Keyed() {
		return nil
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	return tx.Insert(ctx, "idempotency", onceColumns, [][]any{o.Row(a, now)})
}

// Row is the row that After inserts, for a change that keeps many answers at once.
func (o Once) Row(a Answer, now time.Time) []any {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt)
	body := a.Body
	if body == nil {
		body = []byte{} // an answer without a body is one
	}
	return []any{o.Caller, o.Route, o.Key, salt, o.hash(salt), a.Status, body, now.UnixMicro()}
}

// OnceColumns are the columns of Row, in the table idempotency.
func OnceColumns() []string { return onceColumns }

var onceColumns = []string{"caller", "route", "key", "salt", "body_hash", "status", "answer", "created_at"}

func (o Once) hash(salt []byte) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(o.Body)
	return h.Sum(nil)
}

// forgetPiece bounds how many answers one transaction deletes, so that nobody waits long behind it.
const forgetPiece = 1000

// ForgetAnswers deletes the first answers that are older than 24 hours and tells how many.
func (l *Log) ForgetAnswers(ctx context.Context) (total int64, err error) {
	for n := int64(forgetPiece); n == forgetPiece; total += n {
		err := l.Bookkeep(ctx, func(tx *store.Tx) error {
			now, err := tx.Now(ctx)
			if err != nil {
				return err
			}
			n, err = tx.Exec(ctx, `
				delete from idempotency where (caller, route, key) in
					(select caller, route, key from idempotency where created_at <= $1 order by created_at limit $2)`,
				now.Add(-onceFor).UnixMicro(), forgetPiece)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("forget answers to idempotency keys: %w", err)
		}
	}
	return total, nil
}
