package protocol

import (
	"errors"
	"fmt"
)

// Code classifies an error by what the one who asked can do about it. The numbers are those of the session extension.
type Code uint8

// Error codes.
const (
	CodeUnspecified     Code = 0
	CodeInvalid         Code = 1  // the request makes no sense: do not repeat it
	CodeUnauthenticated Code = 2  // log in first, or with other credentials
	CodeForbidden       Code = 3  // not allowed for this user
	CodeNotFound        Code = 4  // no such thing, or not visible to this user
	CodeRateLimited     Code = 5  // later
	CodeTooLarge        Code = 6  // over a size limit
	CodeUnavailable     Code = 7  // no quorum, or the disk is full: repeat later
	CodeOverloaded      Code = 8  // this session's queue is full
	CodeKicked          Code = 9  // ended on purpose: do not reconnect
	CodeDraining        Code = 10 // this node is leaving: go to another
	CodeQuota           Code = 11 // over a quota
	CodeInternal        Code = 12 // our fault
	CodeReplaced        Code = 13 // goes on elsewhere
)

// String is the code's name in lower case.
func (c Code) String() string {
	names := [...]string{"unspecified", "invalid", "unauthenticated", "forbidden", "not_found", "rate_limited", "too_large",
		"unavailable", "overloaded", "kicked", "draining", "quota", "internal", "replaced"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// Error is an error with a code. Message is meant for whoever asked: it says what to do and holds no secrets.
type Error struct {
	Code    Code
	Message string
	// OutcomeUnknown: the command may have been carried out all the same (a leader was lost in between).
	OutcomeUnknown bool
	cause          error
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Unwrap is the cause, nil if there is none.
func (e *Error) Unwrap() error { return e.cause }

// Errorf makes an error of the given code; as with fmt.Errorf, %w keeps a cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// OutcomeUnknownf is an Errorf of CodeUnavailable for a command that may have been carried out all the same.
func OutcomeUnknownf(format string, args ...any) *Error {
	e := Errorf(CodeUnavailable, format, args...)
	e.OutcomeUnknown = true
	return e
}

// CodeOf is the code of the first Error in err's chain; CodeInternal for any other error, CodeUnspecified for nil.
func CodeOf(err error) Code {
	if err == nil {
		return CodeUnspecified
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// IsOutcomeUnknown reports whether the command behind err may have been carried out.
func IsOutcomeUnknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.OutcomeUnknown
}
