package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sealpost/fault"
)

// The limits of a request (SPEC §3). A body of exactly the limit is taken.
const (
	bodyBytes    = 1 << 20          // a body's size
	payloadBytes = 8 << 20          // a body's size on a route that takes payloads, for Operation.MaxBodyBytes
	bodyTimeout  = 30 * time.Second // from the end of the headers to the end of the body
	firstChunk   = 64 << 10         // taken at once for a body that says it is larger; the rest as it arrives
)

// readBody reads the whole body, within the route's limit and the time for it, and puts it where
// huma reads it. Each request has a buffer of its own, never a pooled one: an Idempotency-Key's
// transaction may still look at it when the client has gone away.
func (x *exchange) readBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return x.noBody()
	}
	rt := x.route
	if r.ContentLength > rt.maxBody && len(rt.bodies) > 0 {
		x.Header().Set("Connection", "close") // rather than read it all for nothing
		return tooLarge(rt.maxBody)
	}
	if len(rt.bodies) == 0 {
		if n, err := io.CopyN(io.Discard, r.Body, 1); n == 0 && errors.Is(err, io.EOF) {
			return x.noBody()
		}
		x.Header().Set("Connection", "close")
		return fault.New(fault.BadRequest, "this route takes no request body")
	}
	if r.ContentLength > 0 { // else it may yet turn out that there is none
		if err := checkContentType(r, rt.bodies); err != nil {
			x.Header().Set("Connection", "close")
			return err
		}
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.ContentLength, 512), firstChunk)) + bytes.MinRead)
	if _, err := buf.ReadFrom(http.MaxBytesReader(x.ResponseWriter, r.Body, rt.maxBody)); err != nil {
		return x.cannotRead(err)
	}
	if buf.Len() == 0 {
		return x.noBody()
	}
	if r.ContentLength < 0 {
		if err := checkContentType(r, rt.bodies); err != nil {
			return err
		}
	}
	x.body = buf.Bytes()
	r.Body = io.NopCloser(bytes.NewReader(x.body)) // huma takes the deadline off when it reads this
	return nil
}

func (x *exchange) noBody() error {
	if x.route.needed {
		return fault.New(fault.BadRequest, "this route needs a request body")
	}
	return nil
}

func (x *exchange) cannotRead(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(e.Limit)
	}
	x.Header().Set("Connection", "close")
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return newProblem(x.request, http.StatusRequestTimeout, "the request body did not arrive in time", nil)
	}
	return fault.New(fault.BadRequest, "the request body broke off")
}

func tooLarge(limit int64) error {
	return fault.New(fault.TooLarge, "the request body is larger than %d bytes", limit).With("limitBytes", limit)
}

// checkContentType takes the route's own types, in UTF-8 and not compressed.
func checkContentType(r *http.Request, takes []string) error {
	wrong := fault.New(fault.UnsupportedMediaType, "this route takes %s", strings.Join(takes, " or "))
	if len(r.Header["Content-Encoding"]) > 0 && r.Header.Get("Content-Encoding") != "identity" {
		return fault.New(fault.UnsupportedMediaType, "a compressed request body is not taken")
	}
	values := r.Header["Content-Type"]
	if len(values) != 1 {
		return wrong
	}
	if slices.Contains(takes, values[0]) {
		return nil
	}
	contentType, params, err := mime.ParseMediaType(values[0])
	if err != nil || !slices.Contains(takes, contentType) {
		return wrong
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return wrong
		}
	}
	return nil
}

// checkQuery takes a query whose parameters the route knows, each once, in text.
func checkQuery(query string, known map[string]bool) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fault.New(fault.BadRequest, "the query cannot be read")
	}
	// huma would read "a&limit=3" as the parameter "a&limit".
	for pair := range strings.SplitSeq(query, "&") {
		if !strings.Contains(pair, "=") {
			return fault.New(fault.BadRequest, "the query has a parameter without a value")
		}
	}
	var fields []Field
	for name, all := range values {
		switch at := "query." + printable(name, maxFieldName); {
		case !known[name]:
			fields = append(fields, Field{at, "unknown query parameter"})
		case len(all) > 1:
			fields = append(fields, Field{at, "given more than once"})
		case !utf8.ValidString(all[0]) || strings.IndexByte(all[0], 0) >= 0:
			fields = append(fields, Field{at, "not text in UTF-8"})
		}
	}
	if len(fields) == 0 {
		return nil
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Field, b.Field) })
	return fault.New(fault.Invalid, "%s", notTheSchema).With("fields", fields[:min(len(fields), maxFields)])
}
