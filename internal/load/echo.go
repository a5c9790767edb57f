package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// EchoOptions shape a raw echo: as many connections, as many frames of as many bytes under way.
type EchoOptions struct {
	// Via is what carries the frames: the same library as of the transport, without anything of ours.
	Via                          Via
	Connections, Window, Payload int
	Duration                     time.Duration
}

// Echo measures the machine without any server of ours: a listener in this process sends back what it reads.
func Echo(ctx context.Context, o EchoOptions) (*EchoResult, error) {
	if o.Connections < 1 || o.Window < 1 || o.Payload < 1 {
		return nil, errors.New("connections, window and payload have to be at least 1")
	}
	server, err := listenEcho(ctx, o.Via)
	if err != nil {
		return nil, fmt.Errorf("echo over %s: %w", o.Via, err)
	}
	conns, err := server.dialAll(ctx, o.Connections)
	times, clock := newLatency(), newClock()
	if err == nil {
		clients, ctx := errgroup.WithContext(ctx)
		for i, c := range conns {
			clients.Go(func() error { return echoClient(ctx, c, o, times, i, clock) })
		}
		err = clients.Wait()
	}
	elapsed := clock.now()
	if failed := server.close(); err == nil {
		err = failed
	}
	summary := times.summary()
	return &EchoResult{
		Connections: o.Connections, Window: o.Window, RoundTrip: summary,
		PerSecond: float64(summary.Count) / elapsed.Seconds(),
	}, shorten(err)
}

// dialAll makes n connections, all or none.
func (s *echoServer) dialAll(ctx context.Context, n int) ([]io.ReadWriteCloser, error) {
	conns := make([]io.ReadWriteCloser, n)
	group, ctx := errgroup.WithContext(ctx)
	for i := range conns {
		group.Go(func() (err error) {
			conns[i], err = s.dial(ctx)
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		return conns, nil
	}
	for _, c := range conns {
		if c != nil {
			_ = c.Close() // it was never used
		}
	}
	return nil, err
}

// echoClient keeps a window of frames under way for the time given, and closes the connection.
func echoClient(ctx context.Context, c io.ReadWriteCloser, o EchoOptions, times *latency, shard int, clock clock) (err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		if stop() {
			err = errors.Join(err, c.Close())
		}
	}()
	var (
		out    = make([]byte, o.Payload*o.Window)
		in     = make([]byte, o.Payload*o.Window)
		sentAt = make([]time.Duration, o.Window)
		sent   int
		back   int // frames
		part   int // bytes of the next frame
	)
	for {
		now := clock.now()
		open := now < o.Duration
		if free := o.Window - (sent - back); open && free > 0 {
			for range free {
				sentAt[sent%o.Window] = now
				sent++
			}
			if _, err := c.Write(out[:free*o.Payload]); err != nil {
				return err
			}
		}
		if sent == back {
			return nil
		}
		n, err := c.Read(in)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		now = clock.now()
		for part += n; part >= o.Payload; part -= o.Payload {
			times.record(shard, now-sentAt[back%o.Window])
			back++
		}
	}
}
