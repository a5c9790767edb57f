package client

import (
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol"
)

// Why a call failed or the client stopped; compare with errors.Is.
var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("client: closed")
	// ErrLoggedOut: Logout was called.
	ErrLoggedOut = errors.New("client: logged out")
	// ErrKicked: the server ended this session on purpose; the client does not come back by itself.
	ErrKicked = errors.New("client: kicked by the server")
	// ErrReplaced: the same device went on with another connection, which is not this client's.
	ErrReplaced = errors.New("client: the same device is online elsewhere")
	// ErrCredentials: name or password are wrong, or the stored session has ended and there is no password to log in with.
	ErrCredentials = errors.New("client: login refused")
	// ErrNoHello: the server ended the connection instead of answering HELLO. A server of the legacy protocol does that or stays
	// silent: set Config.Legacy.
	ErrNoHello = errors.New("client: no answer to HELLO; for a legacy server set Config.Legacy")
	// ErrOutboxFull: as many messages wait to be sent as Config.OutboxSize allows.
	ErrOutboxFull = errors.New("client: too many messages wait to be sent")
	// ErrInterrupted: the connection broke after a request was sent that may not be repeated; it may have been carried out.
	ErrInterrupted = errors.New("client: connection lost before the answer; the request may have been carried out")
	// ErrLegacyServer: the server speaks the legacy protocol only, in which there is no such thing.
	ErrLegacyServer = errors.New("client: the server speaks the legacy protocol only, which has no such request")
	// ErrOtherUser: the Storage holds the session of another user.
	ErrOtherUser = errors.New("client: the storage belongs to another user")
)

// Error is a refusal of the server. protocol.CodeOf reads its code through any wrapping.
type Error struct {
	Code       protocol.Code
	Message    string
	RetryAfter time.Duration // how long to wait before trying again; 0: not said
}

// Error is the code and the server's message.
func (e *Error) Error() string {
	if e.Message == "" {
		return "client: refused: " + e.Code.String()
	}
	return fmt.Sprintf("client: refused: %s (%v)", e.Message, e.Code)
}

// Unwrap is the same as an error of package protocol.
func (e *Error) Unwrap() error { return protocol.Errorf(e.Code, "%s", e.Message) }

// refusedBy is the error for an answer whose result code is not 0: the legacy protocol says no more than that it failed.
func refusedBy(what string, result uint32) error {
	if result == 0 {
		return nil
	}
	return &Error{Code: protocol.CodeForbidden, Message: fmt.Sprintf("%s: result %d", what, result)}
}
