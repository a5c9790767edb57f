package dial

import (
	"context"
	"time"
)

// starts says when the runners of a race may start.
type starts struct {
	count int
	pause time.Duration
	// waitAll tells that runner i starts at once only when all before it have failed, not just the one before, and otherwise grace after it.
	waitAll func(i int) bool
	grace   time.Duration
}

// finish is what became of a runner.
type finish[T any] struct {
	runner int
	value  T
	err    error
}

// heat is a race that is being run.
type heat[T any] struct {
	plan    starts
	run     func(ctx context.Context, i int) (T, error)
	done    chan finish[T]
	started int
	failed  []bool
	running int
}

// stagger runs the runners, each a pause after the one before or at once when that has failed, until one succeeds. Then the others are called off; what they
// still bring is given to drop by later, which returns when all have ended. failed is told of each failure, in order. When nobody succeeds, or
// ctx ends, ok is false and all have ended.
func stagger[T any](ctx context.Context, plan starts, run func(ctx context.Context, i int) (T, error),
	failed func(i int, err error), drop func(T)) (value T, winner int, later func(), ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	h := &heat[T]{plan: plan, run: run, done: make(chan finish[T], plan.count), failed: make([]bool, plan.count)}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	h.start(ctx)
	timer.Reset(h.pause())
	for h.running > 0 {
		select {
		case f := <-h.done:
			h.running--
			if f.err == nil {
				cancel()
				return f.value, f.runner, func() { h.rest(drop) }, true
			}
			h.failed[f.runner] = true
			failed(f.runner, f.err)
			for h.isFree() && ctx.Err() == nil {
				h.start(ctx)
				timer.Reset(h.pause())
			}
		case <-timer.C:
			if h.started < plan.count && ctx.Err() == nil {
				h.start(ctx)
				timer.Reset(h.pause())
			}
		}
	}
	cancel()
	return value, 0, func() {}, false
}

// start lets the next runner go. It ends with its ctx, and is joined by receiving from done.
func (h *heat[T]) start(ctx context.Context) {
	i := h.started
	h.started++
	h.running++
	go func() {
		v, err := h.run(ctx, i)
		h.done <- finish[T]{runner: i, value: v, err: err}
	}()
}

// pause is how long the next runner waits for those before it.
func (h *heat[T]) pause() time.Duration {
	if h.started < h.plan.count && h.plan.waitAll(h.started) {
		return h.plan.grace
	}
	return h.plan.pause
}

// isFree reports whether the next runner need not wait any longer.
func (h *heat[T]) isFree() bool {
	switch {
	case h.started >= h.plan.count:
		return false
	case h.plan.waitAll(h.started):
		return h.running == 0
	}
	return h.failed[h.started-1]
}

// rest waits for the losers.
func (h *heat[T]) rest(drop func(T)) {
	for ; h.running > 0; h.running-- {
		if f := <-h.done; f.err == nil {
			drop(f.value)
		}
	}
}
