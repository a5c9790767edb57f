package node

import (
	"context"
	"errors"
	"fmt"
)

// steps remembers how to undo what was started, so that a start that fails half-way and a normal end take the same way.
type steps struct {
	undo []step
}

type step struct {
	name string
	stop func(context.Context) error
}

// started notes a part that runs now, and how to stop it; parts are stopped in reverse order.
func (s *steps) started(name string, stop func(context.Context) error) {
	s.undo = append(s.undo, step{name, stop})
}

// unwind stops everything, the last started first, going on after errors.
func (s *steps) unwind(ctx context.Context) error {
	var all []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		if err := s.undo[i].stop(ctx); err != nil {
			all = append(all, fmt.Errorf("stop %s: %w", s.undo[i].name, err))
		}
	}
	s.undo = nil
	return errors.Join(all...)
}
