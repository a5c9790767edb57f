package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// EchoOptions shape a raw echo: as many connections, as many frames of as many bytes under way.
type EchoOptions struct {
	Connections, Window, Payload int
	Duration                     time.Duration
}

// Echo measures the machine without any server of ours: a listener in this process sends back what it reads.
func Echo(ctx context.Context, o EchoOptions) (*EchoResult, error) {
	if o.Connections < 1 || o.Window < 1 || o.Payload < 1 {
		return nil, errors.New("connections, window and payload have to be at least 1")
	}
	server, err := listenEcho(ctx)
	if err != nil {
		return nil, err
	}
	times, clock := newLatency(), newClock()
	clients, ctx := errgroup.WithContext(ctx)
	for i := range o.Connections {
		clients.Go(func() error { return echoClient(ctx, server.address(), o, times, i, clock) })
	}
	err = clients.Wait()
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

// echoServer sends everything back.
type echoServer struct {
	listener net.Listener
	conns    sync.WaitGroup
}

func listenEcho(ctx context.Context) (*echoServer, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &echoServer{listener: l}
	s.conns.Go(s.accept) // until close
	return s, nil
}

func (s *echoServer) address() string { return s.listener.Addr().String() }

func (s *echoServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.conns.Go(func() { // until the client closes
			defer c.Close()
			buf := make([]byte, 32<<10)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		})
	}
}

// close waits for the connections, which the clients have closed.
func (s *echoServer) close() error {
	err := s.listener.Close()
	s.conns.Wait()
	return err
}

// echoClient keeps a window of frames under way for the time given.
func echoClient(ctx context.Context, address string, o EchoOptions, times *latency, shard int, clock clock) (err error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
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
