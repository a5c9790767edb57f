package peers

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"teamtalk/protocol"
)

// TestBlobStreams: streams go from member to member, those of others and early ones are refused, and they end with the listener and the port.
func TestBlobStreams(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	a, _ := w.open(t, "n1", nil)
	b, _ := w.open(t, "n2", nil)
	w.place("n1", address(a))
	w.place("n2", address(b))
	if _, err := a.DialBlob(t.Context(), "n2"); !errors.Is(err, ErrNotReady) {
		t.Errorf("before anybody listens: %v", err)
	}
	l := b.BlobListener()
	if b.BlobListener() != l || l.Addr().String() != address(b) {
		t.Errorf("another listener, or at %s", l.Addr())
	}
	echoed := make(chan error, 1)
	go func() { // ends with its stream
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			c.Close()
		}
		echoed <- err
	}()
	c, err := a.DialBlob(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	sent, got := bytes.Repeat([]byte("blob"), 50_000), make([]byte, 200_000)
	go func() { _, _ = c.Write(sent) }() // ends with the stream
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("came back: %v", err)
	}
	c.Close()
	if err := <-echoed; err != nil {
		t.Error(err)
	}

	stranger, _ := foreign.open(t, "n1", nil)
	foreign.place("n2", address(b))
	if c, err := stranger.DialBlob(t.Context(), "n2"); err == nil {
		t.Errorf("a stranger got %v", c.RemoteAddr())
	}
	if _, err := a.DialBlob(t.Context(), "n9"); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("no member: %v", err)
	}
	w.place("n3", address(b))
	if _, err := a.DialBlob(t.Context(), "n3"); !errors.Is(err, ErrWrongNode) {
		t.Errorf("another node there: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepted after the end: %v", err)
	}
}

// TestBlobStreamOfRemovedNode: it ends when its node is removed.
func TestBlobStreamOfRemovedNode(t *testing.T) {
	w := newWorld(t)
	a, _ := w.open(t, "n1", nil)
	b, _ := w.open(t, "n2", nil)
	w.place("n2", address(b))
	l := b.BlobListener()
	accepted := make(chan net.Conn, 1)
	go func() { // ends with the listener, which the port closes
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	c, err := a.DialBlob(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	<-accepted
	w.remove("n1")
	b.Disconnect("n1")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the stream goes on")
	}
	c.Close()
	if _, err := a.DialBlob(t.Context(), "n2"); !errors.Is(err, ErrRemoved) {
		t.Errorf("after the removal: %v", err)
	}
}
