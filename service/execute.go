package service

import (
	"context"
	"errors"
	"fmt"

	"teamtalk/protocol"
)

// Executor carries commands through the replicated log.
type Executor interface {
	// Execute returns the command's result once it is durable; a refusal is a *protocol.Error.
	Execute(ctx context.Context, cmd protocol.Command) (any, error)
}

// execute runs a command whose result is a T.
func execute[T any](ctx context.Context, e Executor, op string, cmd protocol.Command) (T, error) {
	result, err := e.Execute(ctx, cmd)
	return resultOf[T](op, result, err)
}

// execute0 runs a command without a result.
func execute0(ctx context.Context, e Executor, op string, cmd protocol.Command) error {
	_, err := e.Execute(ctx, cmd)
	return wrap(op, err)
}

// resultOf gives an answer of the store its type.
func resultOf[T any](op string, result any, err error) (T, error) {
	var none T
	if err != nil {
		return none, wrap(op, err)
	}
	t, ok := result.(T)
	if !ok {
		return none, protocol.Errorf(protocol.CodeInternal, "%s: the store answered %T", op, result)
	}
	return t, nil
}

// wrap adds what was being done. A context that ended says nothing of the command, which may be carried out all the same.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var coded *protocol.Error
	if !errors.As(err, &coded) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return protocol.OutcomeUnknownf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// signedIn refuses user 0, which in an actor's place would be the operator [TT-DIFF-1].
func signedIn(me protocol.UserID) error {
	if me == 0 {
		return protocol.Errorf(protocol.CodeUnauthenticated, "log in first")
	}
	return nil
}
