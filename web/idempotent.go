package web

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/audit"
)

// Idempotent is embedded in the input of a POST that creates: its Idempotency-Key becomes Once, which
// the domain honours inside the transaction. The address is a part of it, since the same key and body
// for another document are another request.
type Idempotent struct {
	Key string `header:"Idempotency-Key" maxLength:"255" pattern:"^[ -~]+$" patternDescription:"printable ASCII" doc:"Makes the request happen once: the same key and body, from the same caller, within 24 h get the first answer again; with another body, 409"`

	Once audit.Once
}

// Resolve implements huma.Resolver.
func (i *Idempotent) Resolve(ctx huma.Context) []error {
	x := exchangeOf(ctx.Context())
	switch values := x.request.Header["Idempotency-Key"]; {
	case len(values) == 0:
		return nil
	case len(values) > 1 || values[0] == "":
		return []error{&huma.ErrorDetail{Location: "header.Idempotency-Key", Message: "expected exactly one key, of 1 to 255 characters"}}
	}
	i.Once = audit.Once{
		Caller: x.principal.UserID, Route: x.request.Method + " " + x.request.URL.Path, Key: i.Key, Body: x.body,
	}
	if x.principal.KeyID != "" {
		i.Once.Caller = x.principal.KeyID
	}
	return nil
}

// answer is the first answer to a request with an Idempotency-Key, as it is kept.
func answer(status int, body any) (audit.Answer, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return audit.Answer{}, fmt.Errorf("keep the first answer: %w", err)
	}
	return audit.Answer{Status: status, Body: b}, nil
}

// Again is a body that is either a T or the text of a first answer that is given again. The document
// describes it as a T.
type Again[T any] struct {
	Value T
	First []byte
}

// MarshalJSON writes the first answer where there is one.
func (a Again[T]) MarshalJSON() ([]byte, error) {
	if a.First != nil {
		return a.First, nil
	}
	return json.Marshal(a.Value)
}

// Schema implements huma.SchemaProvider.
func (Again[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}
