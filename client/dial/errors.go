package dial

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"teamtalk/protocol"
)

// ErrNoBetter means that no transport of the Dialer is better than the one in use.
var ErrNoBetter = errors.New("dial: no better transport to try")

// Attempt is a route that did not open.
type Attempt struct {
	Route Route
	Err   error
	Took  time.Duration
}

// Error says for each route why it did not open. errors.As looks into all of them, and so finds an x509.UnknownAuthorityError for instance.
type Error struct {
	Attempts []Attempt // in the order in which they failed
}

// Error has a line for each route.
func (e *Error) Error() string {
	if len(e.Attempts) == 0 {
		return "dial: no route left to try"
	}
	var b strings.Builder
	b.WriteString("dial: no route works")
	for _, a := range e.Attempts {
		fmt.Fprintf(&b, "\n  %v, after %v: %v", a.Route, a.Took.Round(time.Millisecond), a.Err)
	}
	return b.String()
}

// Unwrap is the errors of all attempts.
func (e *Error) Unwrap() []error {
	errs := make([]error, 0, len(e.Attempts))
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// CloseError is the end of a connection for which the other side gave a reason. The code is CodeUnspecified if the transport has no code of the
// protocol for it.
type CloseError struct {
	Code    protocol.Code
	Message string
}

// Error is the code and the message.
func (e *CloseError) Error() string {
	if e.Message == "" {
		return "closed by the server: " + e.Code.String()
	}
	return "closed by the server: " + e.Code.String() + ": " + e.Message
}

// StatusError is an HTTP answer other than the one needed.
type StatusError struct {
	By     string // who gave it: "server" or "proxy"
	Status int
	Detail string // what is known besides; may be empty
}

// Error names the status.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("the %s answered %d %s", e.By, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += ", " + e.Detail
	}
	return text
}

// statusError tells who gave a status: some are a proxy's only.
func statusError(status int, detail string) error {
	by := "server"
	if status == http.StatusProxyAuthRequired {
		by = "proxy"
	}
	return &StatusError{By: by, Status: status, Detail: detail}
}

// codeOf takes a number from the wire for a code, if it is one.
func codeOf(n uint64) protocol.Code {
	if n > uint64(protocol.CodeReplaced) {
		return protocol.CodeUnspecified
	}
	return protocol.Code(n)
}
