package chatview

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"

	"teamtalk/client"
	"teamtalk/internal/chat"
	"teamtalk/internal/terminal"
	"teamtalk/protocol"
)

// Config is what the messenger needs.
type Config struct {
	Session *terminal.Session
	Name    string // login name
	Drafts  string // file for texts that were typed and not sent; empty: they are not kept
	// Screen is where to draw; nil: the terminal of the process.
	Screen tcell.Screen
}

// How often the time is looked at: while something is on its way, and else.
const (
	busy = 200 * time.Millisecond
	idle = time.Second
)

// After how long without an ack the connection is asked to show that it still works, and how often at most.
const (
	doubtful   = 3 * time.Second
	doubtEvery = 15 * time.Second
)

// Run shows the messenger until the user leaves or ctx ends, which is nil, or the client stops for good. It does not close the session.
func Run(ctx context.Context, cfg Config) error {
	screen := cfg.Screen
	if screen == nil {
		var err error
		if screen, err = tcell.NewScreen(); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	if err := screen.Init(); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	screen.EnablePaste()
	screen.EnableFocus()
	ctx, cancel := context.WithCancel(ctx)
	a := &app{ctx: ctx, screen: screen, session: cfg.Session, model: chat.New(cfg.Session.Me(), cfg.Name), look: palette(),
		answers: make(chan func()), sends: make(chan chat.Send, 1000), outgoing: map[protocol.ClientMsgID]*flight{}}
	a.model.Tick(time.Now())
	a.remember(cfg.Drafts)
	a.joined.Go(a.sender) // ends with ctx
	input := make(chan tcell.Event, 64)
	quit := make(chan struct{})
	a.joined.Go(func() { screen.ChannelEvents(input, quit) }) // ends when the screen does
	err := a.loop(input)
	cancel()
	close(quit)
	screen.Fini()
	for range input { // until the goroutine that fills it has ended
		continue
	}
	a.joined.Wait()
	return errors.Join(err, a.model.Keep(cfg.Drafts))
}

// app runs a model: everything but what waits is done by the goroutine of loop.
type app struct {
	ctx      context.Context // ends with Run; what waits is told by it
	screen   tcell.Screen
	session  *terminal.Session
	model    *chat.Model
	look     [styles]tcell.Style
	keys     keyboard
	answers  chan func()    // run by loop
	sends    chan chat.Send // in the order of typing
	outgoing map[protocol.ClientMsgID]*flight
	doubted  time.Time // when the connection was last asked whether it works
	joined   sync.WaitGroup
	title    string // of the terminal's window
	left     bool
}

// flight is a message that was not acked when it was looked at last.
type flight struct {
	*client.Outgoing
	since time.Time // on its way; zero: it waits
}

// remember takes up what an earlier run has left.
func (a *app) remember(drafts string) {
	if err := a.model.Restore(drafts); err != nil {
		a.model.Failed("drafts", err)
	}
	for _, o := range a.session.Outbox() {
		a.outgoing[o.ClientMsgID()] = &flight{Outgoing: o}
		a.model.Left(o.Session(), o.ClientMsgID())
	}
}

func (a *app) loop(input <-chan tcell.Event) error {
	timer := time.NewTimer(busy)
	defer timer.Stop()
	for !a.left {
		a.refresh()
		timer.Reset(a.pace())
		select {
		case ev := <-input:
			a.input(ev)
		case ev, ok := <-a.session.Events():
			if !ok {
				return a.session.Err()
			}
			a.model.Tick(time.Now())
			a.model.Event(ev)
		case f := <-a.answers:
			f()
		case <-timer.C:
		case <-a.ctx.Done():
			return nil
		}
		a.burst(input)
	}
	return nil
}

// burst takes in what else has come, so that the screen is drawn once for all of it.
func (a *app) burst(input <-chan tcell.Event) {
	for range 256 {
		select {
		case ev := <-input:
			a.input(ev)
		case f := <-a.answers:
			f()
		case ev, ok := <-a.session.Events():
			if !ok {
				return // loop finds out
			}
			a.model.Event(ev)
		default:
			return
		}
	}
}

// pace is how long nothing needs to be drawn if nothing happens.
func (a *app) pace() time.Duration {
	if len(a.outgoing) > 0 || a.model.Link.State != client.Online {
		return busy
	}
	return idle
}

// refresh brings model and screen up to date.
func (a *app) refresh() {
	a.model.Tick(time.Now())
	a.model.Status(a.session.Status())
	a.progress()
	for _, e := range a.model.Effects() {
		a.do(e)
	}
	if title := title(a.model); title != a.title {
		a.title = title
		a.screen.SetTitle(title)
	}
	width, height := a.screen.Size()
	paint(a.screen, Draw(a.model, width, height), &a.look)
}

// title tells what is unread where the window can't be seen.
func title(m *chat.Model) string {
	if n := m.Unseen(); n > 0 {
		return fmt.Sprintf("(%d) TeamTalk", n)
	}
	return "TeamTalk"
}

// progress looks at what is on its way. When something is for too long, the network may have changed without a word.
func (a *app) progress() {
	now := a.model.Now()
	for id, f := range a.outgoing {
		d := f.State()
		a.model.Progress(f.Session(), id, d)
		switch d.Phase {
		case client.PhaseSending:
			if f.since.IsZero() {
				f.since = now
			}
			if now.Sub(f.since) > doubtful && now.Sub(a.doubted) > doubtEvery {
				a.doubted = now
				a.session.NetworkChanged()
			}
		case client.PhaseSent, client.PhaseDelivered, client.PhaseRead:
			delete(a.outgoing, id) // its marks come as events
		case client.PhaseQueued, client.PhaseFailed:
			f.since = time.Time{}
		}
	}
}

func (a *app) input(ev tcell.Event) {
	switch ev := ev.(type) {
	case *tcell.EventKey:
		if k, ok := a.keys.key(ev); ok {
			a.model.Key(k)
		}
	case *tcell.EventPaste:
		if k, ok := a.keys.paste(ev); ok {
			a.model.Key(k)
		}
	case *tcell.EventFocus:
		a.model.Focus(ev.Focused)
	case *tcell.EventResize:
		a.screen.Sync()
	case nil, *tcell.EventError: // the terminal has gone
		a.left = true
	}
	for _, e := range a.model.Effects() {
		a.do(e)
	}
}
