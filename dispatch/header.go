package dispatch

import (
	"strings"

	"sealpost/fault"
)

// Limits of an endpoint's further headers.
const (
	maxHeaders     = 20
	maxHeaderName  = 100  // bytes
	maxHeaderValue = 4096 // bytes
)

// ownHeaders are the header fields that no endpoint has a say in: those of one connection (RFC 9110
// §7.6.1), those that frame a message, and those by which a receiver tells that it is ours and which
// attempt it is. All that begins with webhook- belongs to them.
var ownHeaders = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true, "proxy-connection": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"host": true, "content-length": true, "content-type": true, "content-encoding": true, "expect": true, "accept-encoding": true,
	"authorization": true, "user-agent": true, "idempotency-key": true, "traceparent": true, "tracestate": true,
}

const ownHeaderPrefix = "webhook-"

// checkHeaderName tells whether an endpoint may be sent a header field of that name.
func checkHeaderName(where, name string) error {
	lower := strings.ToLower(name)
	switch {
	case name == "" || len(name) > maxHeaderName || strings.ContainsFunc(name, func(r rune) bool { return !tokenChar(r) }):
		return fault.New(fault.Invalid, "%s: a header's name has 1 to %d characters, of those that RFC 9110 calls a token", where, maxHeaderName)
	case ownHeaders[lower] || strings.HasPrefix(lower, ownHeaderPrefix):
		return fault.New(fault.Invalid, "%s: %s is set by Sealpost itself", where, lower)
	}
	return nil
}

// tokenChar tells whether a character may be in a token (RFC 9110 §5.6.2).
func tokenChar(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// checkHeaderValue tells whether a value, whose name the error has and not the value, can be sent.
func checkHeaderValue(where, value string) error {
	if value == "" || len(value) > maxHeaderValue || strings.TrimSpace(value) != value ||
		strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fault.New(fault.Invalid, "%s has 1 to %d characters of printable ASCII, without space around them", where, maxHeaderValue)
	}
	return nil
}

// checkHeaders tells what is wrong with an endpoint's further headers.
func checkHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fault.New(fault.Invalid, "headers are at most %d", maxHeaders)
	}
	seen := map[string]bool{}
	for name, value := range headers {
		if err := checkHeaderName("headers", name); err != nil {
			return err
		}
		if err := checkHeaderValue("the value of header "+name, value); err != nil {
			return err
		}
		if lower := strings.ToLower(name); seen[lower] {
			return fault.New(fault.Invalid, "headers: %s is there twice", lower)
		} else {
			seen[lower] = true
		}
	}
	return nil
}
