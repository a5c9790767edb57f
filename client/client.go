package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
)

// Client is a user's session with a TeamTalk server. It may be used by many goroutines. It goes on until Close, Logout, or an error that trying
// again would not change.
type Client struct {
	cfg     Config
	engine  *engine
	pumped  chan Event
	stop    context.CancelCauseFunc // the engine; the cause is what Err will say
	deaf    context.CancelFunc      // the pump
	last    context.CancelFunc      // the keeper
	tasks   sync.WaitGroup
	done    chan struct{} // closed when the engine has ended
	closed  chan struct{} // closed when everything has
	quiet   chan struct{} // closed when no event is handed over any more
	once    sync.Once
	goodbye error // of closing the dialer; for those who found closed closed

	mu  sync.Mutex // guards why
	why error
}

// Open starts a client. With a session in the Storage it returns at once, and works offline until there is a connection; without one it
// waits for the first login, for as long as ctx says, and returns why it failed. The client itself does not end with ctx.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	c, resumes, err := launch(ctx, cfg)
	if err != nil || resumes {
		return c, err
	}
	if err := c.WaitOnline(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Start is Open for those who look at Status while the first login is under way: it returns at once, and WaitOnline says what becomes of it.
func Start(ctx context.Context, cfg Config) (*Client, error) {
	c, _, err := launch(ctx, cfg)
	return c, err
}

// launch starts a client; resumes: there was a session in the Storage.
func launch(ctx context.Context, cfg Config) (c *Client, resumes bool, err error) {
	if err := cfg.check(); err != nil {
		return nil, false, err
	}
	state, err := load(&cfg)
	if err != nil {
		return nil, false, err
	}
	cipher, err := crypt.New(cfg.TextKey)
	if err != nil {
		return nil, false, fmt.Errorf("client: %w", err)
	}
	c = &Client{cfg: cfg, pumped: make(chan Event), done: make(chan struct{}), closed: make(chan struct{}), quiet: make(chan struct{})}
	if err := c.assemble(state, codec{cipher}); err != nil {
		return nil, false, err
	}
	c.start(context.WithoutCancel(ctx))
	return c, len(state.Token) > 0, nil
}

// load is what the storage has, completed by what the Config says.
func load(cfg *Config) (Saved, error) {
	var state Saved
	if cfg.Storage != nil {
		var err error
		if state, err = cfg.Storage.Load(); err != nil {
			return state, err
		}
	}
	switch {
	case cfg.Name == "":
		cfg.Name = state.Name
		if len(state.Token) == 0 {
			return state, fmt.Errorf("%w: neither a password nor a session", ErrCredentials)
		}
	case state.Name != "" && state.Name != cfg.Name:
		return state, ErrOtherUser
	}
	if cfg.Device != "" && state.Device != "" && cfg.Device != state.Device {
		state.Token = nil // it is of another device
	}
	switch {
	case cfg.Device != "":
		state.Device = cfg.Device
	case state.Device == "":
		id := newClientMsgID(time.Now())
		state.Device = protocol.DeviceID(fmt.Sprintf("%x", id[:]))
	}
	return state, nil
}

// assemble connects the parts.
func (c *Client) assemble(state Saved, codec codec) error {
	e := &engine{
		cfg: &c.cfg, log: c.cfg.Log.With("user", c.cfg.Name), codec: codec, events: newQueue(), outbox: newOutbox(c.cfg.OutboxSize),
		requests: newRequests(), reads: newReads(), watch: newWatch(), status: newStatus(),
		wake: make(chan struct{}, 1), hint: make(chan struct{}, 1), seen: newSeen(), cursor: state.Cursor, tries: tries{legacy: make(map[string]bool)},
	}
	wake := func() { poke(e.wake) }
	e.keeper = newKeeper(c.cfg.Storage, state, e.log)
	e.keeper.outbox, e.keeper.saved = e.outbox.snapshot, wake
	e.seen.restore(&state)
	e.outbox.restore(state.Outbox)
	e.outbox.poke, e.outbox.dirty, e.outbox.waits = wake, e.keeper.touch, e.events.calling
	e.requests.poke, e.reads.poke = wake, wake
	dialer, err := newDialer(&c.cfg, e.keeper)
	if err != nil {
		return err
	}
	e.dialer = dialer
	c.engine = e
	return nil
}

// start runs the engine, the pump and the keeper; Close ends them in this order.
func (c *Client) start(ctx context.Context) {
	engineCtx, stop := context.WithCancelCause(ctx)
	pumpCtx, deaf := context.WithCancel(ctx)
	keeperCtx, last := context.WithCancel(ctx)
	c.stop, c.deaf, c.last = stop, deaf, last
	c.tasks.Go(func() { c.engine.keeper.run(keeperCtx) })
	c.tasks.Go(func() { c.pump(pumpCtx) })
	c.tasks.Go(func() {
		why := c.engine.run(engineCtx)
		c.over(why)
	})
}

// over fails what waits. What was to be sent stays in the storage, unless the user has logged out.
func (c *Client) over(why error) {
	c.mu.Lock()
	c.why = why
	c.mu.Unlock()
	c.engine.outbox.stop(why, errors.Is(why, ErrLoggedOut))
	c.engine.requests.stop(why)
	c.engine.events.end()
	close(c.done)
}

// pump hands the events to the app, one at a time, and notes what it has had.
func (c *Client) pump(ctx context.Context) {
	defer close(c.quiet)
	defer close(c.pumped)
	for {
		it, ok := c.engine.events.take(ctx)
		if !ok {
			return
		}
		if it.event != nil && !c.hand(ctx, it.event) {
			return
		}
		c.engine.keeper.handedOver(it)
	}
}

func (c *Client) hand(ctx context.Context, ev Event) bool {
	if c.cfg.OnEvent != nil {
		c.cfg.OnEvent(c, ev)
		return true
	}
	select {
	case c.pumped <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}

// Events is where events come from when there is no Config.OnEvent; it is closed when the client has stopped and all were taken, or by
// Close. Up to 256 wait in the client; beyond that it stops reading from the server, while heartbeats go on, until the app has taken some. None
// is dropped.
func (c *Client) Events() <-chan Event { return c.pumped }

// Close ends the connection; the session can be resumed with what the Storage has. It waits for what the client runs.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.stop(ErrClosed)
		<-c.done
		c.deaf()
		<-c.quiet
		c.last() // saves what the app has had last
		c.tasks.Wait()
		c.goodbye = c.engine.dialer.Close()
		close(c.closed)
	})
	<-c.closed
	if c.goodbye != nil {
		return fmt.Errorf("client: close: %w", c.goodbye)
	}
	return nil
}

// Done is closed when the client has stopped for good; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the client has stopped: ErrClosed, ErrLoggedOut, ErrKicked, ErrReplaced, ErrCredentials …; nil as long as it goes on.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// WaitOnline waits until the client is online, or has stopped for good. When ctx ends first, the error also says what has failed until then.
func (c *Client) WaitOnline(ctx context.Context) error {
	err := c.engine.status.await(ctx, c.done)
	if errors.Is(err, ErrClosed) {
		return c.Err()
	}
	if why := c.engine.status.why(); err != nil && why != nil {
		return fmt.Errorf("%w (%w)", err, why)
	}
	return err
}

// NetworkChanged tells that the device has another network, or none, or is awake again: a connection has two seconds to show that it still
// works, and a client that waits to try again does so now.
func (c *Client) NetworkChanged() { poke(c.engine.hint) }

// Status is how the client is doing.
func (c *Client) Status() Status {
	now, _ := c.engine.status.look()
	now.Queued, now.Events = len(c.engine.outbox.snapshot()), c.engine.events.waiting()
	return now
}

// Me is this user; 0 before the first login.
func (c *Client) Me() protocol.UserID { return c.engine.keeper.me() }

// Device names this installation.
func (c *Client) Device() protocol.DeviceID { return c.engine.keeper.look().Device }
