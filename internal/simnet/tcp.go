package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A Cut is a way for a connection to end without notice.
type Cut int

// The ways to end.
const (
	Silence       Cut = iota // nothing passes any more; neither end learns of it
	Reset                    // both ends get an error
	ResetDialer              // who dialled gets an error, who listens learns nothing
	ResetListener            // the other way round
)

// String names the way.
func (c Cut) String() string {
	switch c {
	case Silence:
		return "silence"
	case Reset:
		return "reset"
	case ResetDialer:
		return "reset of the dialer"
	default:
		return "reset of the listener"
	}
}

// resets tells whether the end at the foot of a direction gets an error: who dialled is at the foot of Up.
func (c Cut) resets(foot Direction) bool {
	return c == Reset || c == ResetDialer && foot == Up || c == ResetListener && foot == Down
}

// streamWindow is how many bytes may be on their way in one direction of a stream; then its sender has to wait.
const streamWindow = 256 << 10

// TCPRelay passes connections on to one server as a link lets them. The package comment says what it can't imitate.
type TCPRelay struct {
	link   *Link
	front  net.Listener
	target string
	ctx    context.Context // ends by Close: the relay's goroutines outlive every call
	cancel context.CancelFunc
	joined sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[*relayed]struct{}
}

// relayed is a connection of the relay: two sockets, each the foot of a direction.
type relayed struct {
	ends   [2]*net.TCPConn // [Up]: towards who dialled
	cancel context.CancelFunc
	silent bool // cut: the sockets stay open until the relay ends
}

// RelayTCP listens on a loopback port for connections to a server's address.
func RelayTCP(l *Link, target string) (*TCPRelay, error) {
	ctx, cancel := context.WithCancel(context.Background())
	front, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, err
	}
	r := &TCPRelay{link: l, front: front, target: target, ctx: ctx, cancel: cancel, conns: map[*relayed]struct{}{}}
	r.joined.Go(r.accept) // ends when Close closes the port
	return r, nil
}

// Addr is the address clients connect to.
func (r *TCPRelay) Addr() string { return r.front.Addr().String() }

func (r *TCPRelay) accept() {
	for {
		conn, err := r.front.Accept()
		if err != nil {
			return
		}
		r.joined.Go(func() { r.serve(conn.(*net.TCPConn)) }) // ends with the connection or by Close
	}
}

func (r *TCPRelay) serve(client *net.TCPConn) {
	var d net.Dialer
	conn, err := d.DialContext(r.ctx, "tcp", r.target)
	if err != nil {
		_ = client.SetLinger(0) // the client shall see a reset, as of a port nobody listens on
		_ = client.Close()
		return
	}
	r.carry(client, conn.(*net.TCPConn))
}

// carry joins two sockets until both directions have ended.
func (r *TCPRelay) carry(client, server *net.TCPConn) {
	ctx, cancel := context.WithCancel(r.ctx)
	c := &relayed{ends: [2]*net.TCPConn{client, server}, cancel: cancel}
	stop := context.AfterFunc(ctx, func() { // ends what waits for a socket
		_ = client.SetDeadline(time.Now())
		_ = server.SetDeadline(time.Now())
	})
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	ready := time.Now().Add(r.link.roundTrip())
	var pumps sync.WaitGroup
	pumps.Go(func() { r.pump(ctx, c, Up, ready) })   // ends with the connection
	pumps.Go(func() { r.pump(ctx, c, Down, ready) }) // the same
	pumps.Wait()
	stop()
	cancel()
	r.mu.Lock()
	silent := c.silent
	delete(r.conns, c)
	r.mu.Unlock()
	if silent {
		<-r.ctx.Done()
	}
	_ = client.Close() // the ends have been passed on, or one was cut
	_ = server.Close()
}

// A chunk is what was sent at once; none of its bytes come before those of the chunk before.
type chunk struct {
	sent, due time.Time
	data      []byte
	end       error // io.EOF: the sender has nothing more; another error: the connection broke
	arrived   bool  // in memory: it is there and partly read
}

// pump carries one direction until it ends, is cut, or breaks, which ends the other one as well.
func (r *TCPRelay) pump(ctx context.Context, c *relayed, d Direction, ready time.Time) {
	chunks := make(chan chunk, streamWindow/(16<<10))
	var reader sync.WaitGroup
	reader.Go(func() { r.read(ctx, c.ends[d], d, ready, chunks) }) // ends with the connection, or when it is cut
	defer reader.Wait()
	err := r.write(ctx, c.ends[1-d], d, chunks)
	if err == nil || ctx.Err() != nil {
		return
	}
	r.cutOne(c, Reset)
}

func (r *TCPRelay) read(ctx context.Context, from *net.TCPConn, d Direction, ready time.Time, chunks chan<- chunk) {
	buf := make([]byte, 16<<10)
	last := time.Time{}
	for {
		n, err := from.Read(buf)
		now := time.Now()
		if now.Before(ready) {
			now = ready // the handshake takes a round trip
		}
		c := chunk{sent: now, due: r.link.stream(d, now, n), data: append([]byte(nil), buf[:n]...), end: err}
		if c.due.Before(last) {
			c.due = last
		}
		last = c.due
		select {
		case chunks <- c:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// write hands over what is due; nil when the sender had nothing more.
func (r *TCPRelay) write(ctx context.Context, to *net.TCPConn, d Direction, chunks <-chan chunk) error {
	for {
		var c chunk
		select {
		case c = <-chunks:
		case <-ctx.Done():
			return ctx.Err()
		}
		for arrived := false; !arrived; {
			if err := until(ctx, c.due); err != nil {
				return err
			}
			c.due, arrived = r.link.streamArrives(d, c.sent, len(c.data))
		}
		if err := ctx.Err(); err != nil {
			return err // what is cut passes nothing more
		}
		if _, err := to.Write(c.data); err != nil {
			return err
		}
		if errors.Is(c.end, io.EOF) {
			return to.CloseWrite()
		}
		if c.end != nil {
			return c.end
		}
	}
}

func until(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cut ends all connections of this moment in a way, and returns how many there were.
func (r *TCPRelay) Cut(how Cut) int {
	r.mu.Lock()
	var all []*relayed
	for c := range r.conns {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		r.cutOne(c, how)
	}
	return len(all)
}

func (r *TCPRelay) cutOne(c *relayed, how Cut) {
	r.mu.Lock()
	_, open := r.conns[c]
	delete(r.conns, c) // it can be cut once
	c.silent = c.silent || open && how != Reset
	r.mu.Unlock()
	if !open {
		return
	}
	for foot, conn := range c.ends {
		if how.resets(Direction(foot)) {
			_ = conn.SetLinger(0) // a reset, not an end; before the pumps learn of it, who would close without
			_ = conn.Close()
		}
	}
	c.cancel()
}

// Close ends the relay with all its connections and waits for its goroutines.
func (r *TCPRelay) Close() error {
	err := r.front.Close()
	r.cancel()
	r.Cut(Reset)
	r.joined.Wait()
	return err
}
