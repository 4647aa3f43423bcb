package web

import (
	"net/http"
	"time"
)

// The limits of a connection. A handler that takes longer than writeTimeout (a stream) says so by
// http.ResponseController.
const (
	readHeaderTimeout = 10 * time.Second  // from the connection, or the request before, to the end of the headers
	writeTimeout      = 90 * time.Second  // from the end of the headers to the end of the answer
	idleTimeout       = 120 * time.Second // between two requests
	maxHeaderBytes    = 32 << 10
)

// HTTPServer makes the server of an address, with limits for what a client may hold open. A body has
// a time of its own (bodyTimeout), so a handler is not cut off for reading one.
//
// net/http answers by itself, in plain text and without a request id, what is no HTTP request (400), a
// header over the limit (431) and an unknown Expect (417): no handler ever sees those.
func HTTPServer(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr: addr, Handler: handler,
		ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, DisableGeneralOptionsHandler: true,
	}
}
