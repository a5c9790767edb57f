package load

import (
	"context"
	"crypto/md5" //nolint:gosec // the wire asks for MD5 of the password; it protects nothing
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
)

// loginsAtOnce bounds the logins under way, so that a thousand of them are no storm.
const loginsAtOnce = 32

// goodbyesAtOnce bounds the goodbyes under way, each of which may take a round trip.
const goodbyesAtOnce = 256

// Target is the server and whom to log in as.
type Target struct {
	// Server is host:port of the port that Via uses.
	Server string
	Via    Via
	// TLS is whom to trust; nil: the system's authorities.
	TLS *tls.Config
	// Library lets TCP go by the client library as the other transports do, for like to be compared with like; by itself the generator is cheaper.
	Library bool
	// Extended begins sessions with HELLO.
	Extended bool
	// Sources is from how many addresses of the loopback the connections come; 0 or 1: from the usual one.
	Sources int
	// UserPattern makes the login name of the n-th user, as "user%d"; First is the number of the first one.
	UserPattern string
	First       int
	// Password is the same for everybody, in plain.
	Password string
	// Client is the type logged in as. PC types make the server announce presence to all PC sessions.
	Client protocol.ClientType
}

func (t Target) name(n int) string { return fmt.Sprintf(t.UserPattern, t.First+n) }

func (t Target) sockets() sockets { return sockets{t.Sources} }

func (t Target) passwordHash() string {
	sum := md5.Sum([]byte(t.Password)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// Discover asks a login URL (http://…/msg_server) for the server's address.
func Discover(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Code    int    `json:"code"`
		Msg     string `json:"msg"`
		PriorIP string `json:"priorIP"`
		Port    string `json:"port"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, res.Body, 64<<10)).Decode(&answer); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	if answer.Code != 0 || answer.PriorIP == "" {
		return "", fmt.Errorf("%s: code %d: %s", url, answer.Code, answer.Msg)
	}
	return net.JoinHostPort(answer.PriorIP, answer.Port), nil
}

// RequireLoopback refuses a server that is another machine: load is not to be put on a stranger by a slip.
func RequireLoopback(ctx context.Context, hostport string) error {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return fmt.Errorf("server address: %w", err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if !ip.Unmap().IsLoopback() {
			return fmt.Errorf("%s is not this machine: say --allow-remote if it is yours to load", hostport)
		}
	}
	return nil
}

// pace spaces logins by a transport of which each takes two connections at first: the one that does not poll goes after some seconds, and too
// many at once would be more than a process may open.
type pace struct{ tick *time.Ticker }

const pollLoginsPerSecond = 400

func newPace(via Via) pace {
	if via != ViaLongPoll {
		return pace{}
	}
	return pace{time.NewTicker(time.Second / pollLoginsPerSecond)}
}

// wait returns when the next may begin, or ctx has ended.
func (p pace) wait(ctx context.Context) {
	if p.tick == nil {
		return
	}
	select {
	case <-p.tick.C:
	case <-ctx.Done():
	}
}

// stop is for when no more logins follow.
func (p pace) stop() {
	if p.tick != nil {
		p.tick.Stop()
	}
}

// connect logs in the first n users, all or nothing.
func connect(ctx context.Context, t Target, n int) ([]*Conn, error) {
	return connectEach(ctx, n, func(int) Target { return t })
}

// connectEach logs in the first n users, each at his own target, all or nothing; all targets are reached by the same transport.
func connectEach(ctx context.Context, n int, at func(i int) Target) ([]*Conn, error) {
	conns := make([]*Conn, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loginsAtOnce)
	pace := newPace(at(0).Via)
	defer pace.stop()
	for i := range conns {
		pace.wait(ctx)
		group.Go(func() error {
			var err error
			conns[i], err = login(ctx, at(i), i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, closeAll(conns))
	}
	return conns, nil
}

// closeAll ends all that are there; the transports that say goodbye do so side by side.
func closeAll(conns []*Conn) error {
	var group errgroup.Group
	group.SetLimit(goodbyesAtOnce)
	for _, c := range conns {
		if c != nil {
			group.Go(c.Close)
		}
	}
	return group.Wait()
}

// LoginOptions bound a login run.
type LoginOptions struct {
	// Users take turns; At is how many logins are under way at once.
	Users, At int
	// Duration and Count end the run, whichever comes first; Count 0 is no limit.
	Duration time.Duration
	Count    int
}

// Logins measures how fast users can log in: connect, log in, close, again.
func Logins(ctx context.Context, t Target, o LoginOptions) (*LoginResult, error) {
	if o.Users < o.At {
		return nil, errors.New("more logins at once than users: they would kick each other")
	}
	var (
		latency  = newLatency()
		clock    = newClock()
		deadline = o.Duration
		turns    = newTurns(o.Count)
	)
	group, ctx := errgroup.WithContext(ctx)
	var goodbyes errgroup.Group // for which the next login does not wait
	for worker := range o.At {
		group.Go(func() error {
			for user := worker; ; user += o.At {
				if user >= o.Users {
					user = worker
				}
				start := clock.now()
				if start >= deadline || !turns.take() {
					return nil
				}
				c, err := login(ctx, t, user)
				if err != nil {
					return err
				}
				latency.record(worker, clock.now()-start)
				goodbyes.Go(c.Close)
			}
		})
	}
	err := group.Wait()
	elapsed := clock.now()
	if failed := goodbyes.Wait(); err == nil {
		err = failed
	}
	summary := latency.summary()
	return &LoginResult{
		Logins: summary.Count, Seconds: elapsed.Seconds(),
		PerSecond: float64(summary.Count) / elapsed.Seconds(), Latency: summary,
	}, shorten(err)
}

// shorten keeps one line of an error that may have come from many connections.
func shorten(err error) error {
	if err == nil {
		return nil
	}
	if line, _, cut := strings.Cut(err.Error(), "\n"); cut {
		return errors.New(line)
	}
	return err
}
