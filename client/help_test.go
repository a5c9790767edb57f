package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
)

// rig is a client with a fake server.
type rig struct {
	t      *testing.T
	server *fakeServer
	net    *fakeNet
	cfg    client.Config
	c      *client.Client
}

func newRig(t *testing.T, transports ...dial.Transport) *rig {
	s := newFakeServer()
	n := newFakeNet(s, transports...)
	return &rig{t: t, server: s, net: n, cfg: client.Config{Name: "me", Password: "1", Dialer: n}}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// open starts the client and closes it in the end.
func (r *rig) open() *client.Client {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	c, err := client.Open(ctx, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.c = c
	r.t.Cleanup(func() { r.close() })
	return c
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.c.Close(); err != nil {
		r.t.Error(err)
	}
}

// event waits for the next event that is not about the connection.
func (r *rig) event() client.Event {
	r.t.Helper()
	for {
		ev := r.any()
		if _, ok := ev.(*client.StateChanged); !ok {
			return ev
		}
	}
}

func (r *rig) any() client.Event {
	r.t.Helper()
	select {
	case ev, ok := <-r.c.Events():
		if !ok {
			r.t.Fatal("no more events")
		}
		return ev
	case <-time.After(10 * time.Minute):
		r.t.Fatal("no event")
	}
	return nil
}

// state waits for the next change to a state.
func (r *rig) state(want client.State) *client.StateChanged {
	r.t.Helper()
	for {
		if ev, ok := r.any().(*client.StateChanged); ok && ev.State == want {
			return ev
		}
	}
}

// message waits for a message and checks its text.
func (r *rig) message(text string) *client.Message {
	r.t.Helper()
	ev := r.event()
	m, ok := ev.(*client.Message)
	if !ok || m.Text != text {
		r.t.Fatalf("got %s, want the message %q", show(ev), text)
	}
	return m
}

// nothing checks that no event but of the connection comes for a while.
func (r *rig) nothing() {
	r.t.Helper()
	timer := time.After(time.Minute)
	for {
		select {
		case ev := <-r.c.Events():
			if _, ok := ev.(*client.StateChanged); !ok {
				r.t.Fatalf("unexpected %s", show(ev))
			}
		case <-timer:
			return
		}
	}
}

// drain takes events until the end of the test.
func (r *rig) drain() {
	go func() { // until the client is closed
		for range r.c.Events() {
		}
	}()
}

// conns counts the connections so far.
func (r *rig) conns() (n int) {
	r.server.do(func() { n = len(r.server.conns) })
	return n
}

func (r *rig) send(text string) *client.Outgoing {
	r.t.Helper()
	o, err := r.c.Send(r.t.Context(), inAlice(), client.Text(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) sent(o *client.Outgoing) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute)
	defer cancel()
	if err := o.Wait(ctx); err != nil {
		r.t.Fatalf("%v: %+v", err, o.State())
	}
}

func show(ev client.Event) string {
	switch ev := ev.(type) {
	case *client.Message:
		return fmt.Sprintf("message %d %q in %v", ev.ID, ev.Text, ev.Session)
	case *client.StateChanged:
		return fmt.Sprintf("%v (%v)", ev.State, ev.Why)
	default:
		return fmt.Sprintf("%T%+v", ev, ev)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}
