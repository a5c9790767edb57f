package peers

import (
	"context"
	"errors"
	"strings"
	"testing"

	"teamtalk/protocol"
)

// A node that was removed gets what the other one knows of that, and its state shows it.
func TestRemovedNodeGetsEvidence(t *testing.T) {
	w := newWorld(t)
	knows := make(chan protocol.NodeID, 1000)
	one, _ := w.open(t, "n1", func(c *Config) {
		c.Knows = func(id protocol.NodeID) uint64 { knows <- id; return 77 }
	})
	w.place("n1", address(one))
	w.remove("n2")
	b := w.join(t, "n2", echo, nil, nil)
	eventually(t, "the removed node learns of the evidence", func() bool {
		states := b.Peers()
		return len(states) == 1 && states[0].RemovedAt == 77 && strings.Contains(states[0].Error, ErrRemoved.Error())
	})
	if id := <-knows; id != "n2" {
		t.Errorf("asked about %s", id)
	}
	// Nodes of before say no more than that it was removed.
	var e *RemovedError
	if err := readEvidence(strings.NewReader("")); !errors.Is(err, ErrRemoved) || !errors.As(err, &e) || e.At != 0 {
		t.Errorf("without evidence: %v", err)
	}
}

// A call that its caller gives up ends on the other node too.
func TestGivenUpCallEndsElsewhere(t *testing.T) {
	w := newWorld(t)
	begun, ended := make(chan struct{}), make(chan error, 1)
	a := w.join(t, "n1", echo, nil, nil)
	b := w.join(t, "n2", func(ctx context.Context, _ protocol.NodeID, _ uint8, _ []byte) ([]byte, error) {
		Accepted(ctx)
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}, nil, nil)
	a.expect(t, "n2 up")
	b.expect(t, "n1 up")
	ctx, giveUp := context.WithCancel(within(t))
	go func() { <-begun; giveUp() }()
	if _, err := a.Call(ctx, "n2", LaneControl, 1, nil); !protocol.IsOutcomeUnknown(err) {
		t.Errorf("the caller is told %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended by %v", err)
		}
	case <-within(t).Done():
		t.Error("the other node goes on with it")
	}
}
