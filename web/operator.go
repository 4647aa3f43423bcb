package web

import (
	"context"
	"net"
	"net/http"

	"sealpost/audit"
)

// The operator's socket is a Unix socket in DATA_DIR, in a folder that nobody but the server's own
// account, and root, can enter. Whoever can is the operator of this installation, who could read its
// database and its keys as well, and needs no token there. Only routes that say so (orOperator) take
// them for anybody; and what they do is told of in the audit log as done by the operator.

type operatorKey struct{}

// OperatorServer makes the server of the operator's socket, which answers by the same handler.
func OperatorServer(handler http.Handler) *http.Server {
	s := HTTPServer("operator", handler)
	s.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), operatorKey{}, true)
	}
	return s
}

// fromOperator tells whether a request came by the operator's socket.
func fromOperator(ctx context.Context) bool { return ctx.Value(operatorKey{}) != nil }

// asOperator is the principal of such a request.
func asOperator(from audit.Principal) audit.Principal {
	p := audit.Itself("operator")
	p.RequestID, p.UserAgent = from.RequestID, from.UserAgent
	return p
}
