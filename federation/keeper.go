package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A keeper sees to it that there is a link with one confirmed peer: it dials as long as none stands [FED-TR-4].
type keeper struct {
	m     *Manager
	term  *term
	peer  fed.ClusterID
	log   *slog.Logger
	tally *tally
	ctx   context.Context
	stop  context.CancelFunc
	woken chan struct{} // holds one token: look at what follows again

	mu       sync.Mutex // guards what follows
	record   fed.Peer
	manifest fed.Manifest
	keys     fed.Keys
	link     *link // nil: none
	gone     bool  // the peer is not wanted any more
	worked   string
	backoff  time.Duration
	pause    time.Duration // before the next attempt
	trouble  error         // of the last attempt or link
	changed  time.Time     // when the link came or went
}

// versionWait is the pause after it turned out that there is no version in common [FED-TR-6].
const versionWait = time.Hour

// keep begins to look after a peer.
func (m *Manager) keep(t *term, peer fed.ClusterID, record *fed.Peer, manifest *fed.Manifest) {
	k := &keeper{m: m, term: t, peer: peer, log: m.log.With("peer", manifest.Domain), tally: m.tallyOf(peer), woken: make(chan struct{}, 1),
		record: *record, manifest: *manifest, keys: manifest.LinkKeys(), backoff: m.cfg.Timing.RetryLeast, changed: time.Now()}
	k.ctx, k.stop = context.WithCancel(t.ctx)
	t.mu.Lock()
	t.keepers[peer] = k
	t.mu.Unlock()
	t.wg.Go(k.run) // ends with the term, or when the peer is dismissed
}

// run dials whenever that is due and no link stands.
func (k *keeper) run() {
	for {
		var due <-chan time.Time
		var t *time.Timer
		if pause, dial := k.next(); dial {
			t = time.NewTimer(pause)
			due = t.C
		}
		select {
		case <-k.ctx.Done():
		case <-k.woken:
		case <-due:
			k.attempt()
		}
		if t != nil {
			t.Stop()
		}
		if k.ctx.Err() != nil {
			return
		}
	}
}

// next is when to dial; false: not now.
func (k *keeper) next() (pause time.Duration, dial bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pause, k.link == nil && len(k.manifest.Endpoints) > 0 && !k.gone
}

func (k *keeper) wake() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// hurry has the next attempt made at once: something has changed.
func (k *keeper) hurry() {
	k.mu.Lock()
	k.backoff, k.pause = k.m.cfg.Timing.RetryLeast, 0
	k.mu.Unlock()
	k.wake()
}

// heard begins the pauses anew: the peer has shown that it is there [FED-TR-4].
func (k *keeper) heard() {
	k.mu.Lock()
	k.pause = min(k.pause, rand.N(k.m.cfg.Timing.RetryLeast))
	k.mu.Unlock()
	k.wake()
}

// attempt tries all endpoints in turn, the one that worked last first, and serves the link that comes of it.
func (k *keeper) attempt() {
	k.mu.Lock()
	endpoints, from := k.manifest.Endpoints, 0
	for i, e := range endpoints {
		if e == k.worked {
			from = i
		}
	}
	proxy := k.record.Proxy
	k.mu.Unlock()
	var all []error
	for i := range endpoints {
		if k.standing() != nil || k.ctx.Err() != nil {
			break
		}
		endpoint := endpoints[(from+i)%len(endpoints)]
		stood, err := k.dial(endpoint, proxy)
		k.tally.dialled(err)
		if stood {
			return // the pause was set when it ended
		}
		var bye *farewell
		if errors.As(err, &bye) && bye.Reason != fed.ReasonElsewhere {
			all = []error{err} // the same at all endpoints
			break
		}
		all = append(all, fmt.Errorf("%s: %w", endpoint, err))
	}
	k.failed(errors.Join(all...))
}

// failed sets the next pause: full jitter [FED-TR-4].
func (k *keeper) failed(err error) {
	if err == nil {
		return
	}
	var bye *farewell
	said := errors.As(err, &bye)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pause = rand.N(k.backoff)
	k.backoff = min(2*k.backoff, k.m.cfg.Timing.RetryMost)
	switch {
	case errors.Is(err, errNoVersion) || said && bye.Reason == fed.ReasonVersion:
		k.pause = versionWait
	case said && bye.Reason == fed.ReasonDuplicate, errors.Is(err, errDuplicate), k.link != nil:
		return // nothing is wrong
	}
	if k.trouble == nil || k.trouble.Error() != err.Error() {
		k.log.Info("no link with a peer", "error", err)
	}
	k.trouble = err
}

// Reasons of this side's against a connection.
var (
	errNoVersion = errors.New("no version of the protocol in common")
	errDuplicate = errors.New("another connection with the peer is in use")
	errLeaving   = errors.New("this node keeps no link with the peer any more")
)

// dialWait is how long an endpoint has to answer.
const dialWait = 15 * time.Second

// dial connects with an endpoint, and serves the link if there is one: then it returns when that has ended.
func (k *keeper) dial(endpoint, proxy string) (stood bool, err error) {
	own := k.term.self.Load()
	conf, err := k.m.papers.client(own)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(k.ctx, dialWait)
	defer cancel()
	w, certs, err := k.m.cfg.Dialer.Dial(ctx, endpoint, proxy, conf)
	if err != nil {
		return false, err
	}
	defer func() { _ = w.Close() }() // a link has told its errors
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	cert, err := shownBy(certs)
	if err != nil {
		return false, err
	}
	hi, err := k.m.helloFor(own, k.peer)
	if err != nil {
		return false, err
	}
	h, err := greet(w, hi, cert.key)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return false, err
	}
	if h.manifest.Cluster != k.peer {
		return false, protocol.Errorf(protocol.CodeForbidden, "this is cluster %v (%s), not the one that was looked for", h.manifest.Cluster, h.manifest.Domain)
	}
	record, _ := k.known()
	if bye := h.check(own.cluster, &record); bye != nil {
		part(w, *bye)
		return false, refusedHere(bye)
	}
	cancel()
	k.mu.Lock()
	k.worked = endpoint
	k.mu.Unlock()
	return k.serve(k.newLink(w, own, h, cert, true))
}

func refusedHere(g *fed.Goodbye) error {
	if g.Reason == fed.ReasonVersion {
		return fmt.Errorf("%w: %s", errNoVersion, g.Text)
	}
	return errors.New(g.Text)
}

// serve has a link be the one with the peer for as long as it stands. stood: it was.
func (k *keeper) serve(l *link) (stood bool, err error) {
	if err := k.learn(k.ctx, &l.hello.Manifest, &l.hello.manifest); err != nil {
		return false, err
	}
	if err := l.begin(); err != nil {
		part(l.wire, fed.Goodbye{Reason: fed.ReasonStateLost, Text: "the state of one of the two clusters was lost: `teamtalkd federation status` says at which side, and what to do"})
		return false, err
	}
	k.heard()
	if err := k.adopt(l); err != nil {
		bye := fed.Goodbye{Reason: fed.ReasonDuplicate, Text: err.Error()}
		if !errors.Is(err, errDuplicate) {
			bye.Reason = fed.ReasonMoved
		}
		part(l.wire, bye)
		return false, err
	}
	k.log.Info("a link is up", "via", l.wire.Via(), "remote", l.wire.RemoteAddr().String(), "dialled", l.dialled,
		"version", l.hello.version, "program", protocol.Truncate(l.hello.Program, maxReason))
	err = l.run(k.ctx)
	k.drop(l, err)
	k.log.Info("a link is down", "reason", reason(err))
	return true, err
}

func reason(err error) string {
	if err == nil {
		return "ended"
	}
	return err.Error()
}

// adopt makes a link the one that is in use, once a lesser one is gone [FED-TR-2]: that of the smaller id's dialling is better if the
// peer is still at its other end, and of two by the same side the newer one.
func (k *keeper) adopt(l *link) error {
	for {
		k.mu.Lock()
		if k.gone || k.term.closing.Load() || k.ctx.Err() != nil {
			k.mu.Unlock()
			return errLeaving
		}
		old, young := k.link, time.Since(k.changed) < steady // then both have just dialled
		if old == nil {
			k.link, k.trouble, k.changed = l, nil, time.Now()
			l.record = k.record // it may have changed since the link was made
			k.mu.Unlock()
			k.tally.ups.Add(1)
			return nil
		}
		k.mu.Unlock()
		if old.preferred() && !l.preferred() && old.hello.Epoch == l.hello.Epoch && (young || old.answers(k.ctx)) {
			return errDuplicate
		}
		old.end(fed.Goodbye{Reason: fed.ReasonDuplicate, Text: errDuplicate.Error()})
		select {
		case <-old.done:
		case <-k.ctx.Done():
			return errLeaving
		}
	}
}

// steady is how long a link has to stand to count as more than an attempt.
const steady = 5 * time.Second

// blocked notes why there can be no link although the peer has dialled.
func (k *keeper) blocked(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.link == nil && (k.trouble == nil || k.trouble.Error() != err.Error()) {
		k.trouble = err
		k.log.Error("no link with a peer", "error", err)
	}
}

// drop notes that the link has ended.
func (k *keeper) drop(l *link, err error) {
	k.mu.Lock()
	least := k.m.cfg.Timing.RetryLeast
	if time.Since(k.changed) >= steady {
		k.backoff = least
	}
	k.pause = rand.N(k.backoff)
	if time.Since(k.changed) < steady {
		k.backoff = min(2*k.backoff, k.m.cfg.Timing.RetryMost)
	}
	k.link, k.changed = nil, time.Now()
	k.trouble = err
	k.mu.Unlock()
	close(l.done)
	k.wake()
}

// standing is the link in use; nil: none.
func (k *keeper) standing() *link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.link
}

// known is what is kept of the peer.
func (k *keeper) known() (fed.Peer, fed.Keys) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.record, k.keys
}

func (k *keeper) newestKeys() fed.Keys {
	_, keys := k.known()
	return keys
}

// update takes what the state has of the peer now. Other rules renew the link; so does a manifest without the key that the peer's certificate has.
func (k *keeper) update(record *fed.Peer, manifest *fed.Manifest) {
	k.mu.Lock()
	before, serial := k.record, k.manifest.Serial
	k.record, k.manifest = *record, *manifest
	if manifest.Serial != serial {
		k.keys = manifest.LinkKeys()
	}
	l, keys := k.link, k.keys
	k.mu.Unlock()
	ruled := before.In != record.In || before.Out != record.Out || before.Proxy != record.Proxy || before.DialOnly != record.DialOnly
	switch {
	case l != nil && ruled:
		l.end(fed.Goodbye{Reason: fed.ReasonMoved, Text: "the rules of the link have changed: connect again"})
	case l != nil && keys[fed.KeyIDOf(l.shown.key)] == nil:
		l.end(fed.Goodbye{Reason: fed.ReasonIdentity, Text: "the key of this connection is not in use any more: connect again"})
	}
	if ruled || manifest.Serial != serial {
		k.hurry()
	}
}

// dismiss ends the keeper and its link.
func (k *keeper) dismiss(why fed.Goodbye) {
	k.mu.Lock()
	k.gone = true
	l := k.link
	k.mu.Unlock()
	if l != nil {
		l.end(why)
		<-l.done
	}
	k.stop()
}

// learn has a manifest of the peer's that is newer than the one that is known written down, before anything else is said [FED-ID-2].
func (k *keeper) learn(ctx context.Context, signed *fed.SignedManifest, manifest *fed.Manifest) error {
	for range 5 {
		record, _ := k.known()
		before, err := record.Manifest.Open()
		if err != nil {
			return err
		}
		same := string(before.Root[:]) == string(manifest.Root[:]) && string(record.Manifest.Manifest) == string(signed.Manifest)
		if err := manifest.Follows(&before, same); err != nil || same {
			return err
		}
		next := record
		next.Manifest = *signed
		err = k.m.putPeer(ctx, k.peer, &next, record.Version, [32]byte{})
		if err == nil {
			next.Version++
			k.update(&next, manifest)
			return nil
		}
		if protocol.CodeOf(err) != protocol.CodeInvalid {
			return err
		}
		if err := k.reread(); err != nil { // it was changed meanwhile
			return err
		}
	}
	return protocol.Errorf(protocol.CodeUnavailable, "what is kept of the peer changes all the time")
}

// reread takes the state's record of the peer.
func (k *keeper) reread() error {
	p, err := k.m.readPeer(k.peer)
	if err != nil {
		return err
	}
	if p == nil {
		return errNotKnown
	}
	manifest, err := p.Manifest.Open()
	if err != nil {
		return err
	}
	k.update(p, &manifest)
	return nil
}

// view is what only this node knows of the link.
func (k *keeper) view() LinkView {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.tally.view()
	v.Changed = k.changed
	if k.trouble != nil {
		v.Error = k.trouble.Error()
	}
	if l := k.link; l != nil {
		v.Up, v.Via, v.Remote, v.Dialled, v.Error = true, l.wire.Via(), l.wire.RemoteAddr().String(), l.dialled, ""
	}
	return v
}
