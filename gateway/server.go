// Package gateway serves the clients: it reads their requests from whatever transport they come by, has the services carry them out, and pushes
// to them what happens. It translates between PDUs and the words of package protocol and decides nothing itself.
//
// A connection is one call of ServeConn. One goroutine belongs to it, the caller's, which reads. Three more come and go: one that writes, one that
// waits for messages on their way through the log, one that carries out requests in their order.
package gateway

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pdu"
)

// Server holds the sessions of one node.
type Server struct {
	services Services
	limits   Limits
	timing   Timing
	files    []protocol.FileAddress
	media    Media // nil: there is none
	inputs   inputs
	signaler Signaler
	presence Presence
	hub      *hub
	log      *slog.Logger
	metrics  *metrics

	seed  maphash.Seed // of the hashes that recognise repeats
	texts placeholders

	table     map[pdu.Command]*row
	sessions  *registry
	admission *admission
	board     *presenceBoard
	farewell  *farewells
	jumped    chan struct{} // holds one token while sessions have to end

	life *life
}

// inputs are what a server is told.
type inputs struct {
	events    Events
	signals   Signals
	displaced Displaced // nil: this node is alone
}

// life is how far a server has come.
type life struct {
	once     sync.Once
	stopping chan struct{}   // closed when Shutdown begins
	ctx      context.Context // of messages on their way: they are stored even if the client leaves; ends when Shutdown runs out of time
	giveUp   context.CancelFunc
	draining sync.Mutex // held by Drain
}

// New makes a server; Run starts what it does besides serving connections.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	cipher, err := crypt.New(cfg.TextKey)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	srv := &Server{
		services:  cfg.Services,
		limits:    cfg.Limits,
		timing:    cfg.Timing,
		files:     cfg.FileAddresses,
		media:     cfg.Media,
		inputs:    inputs{events: cfg.Events, signals: cfg.Signals, displaced: cfg.Displaced},
		signaler:  cfg.Signaler,
		presence:  cfg.Presence,
		hub:       newHub(&cfg),
		log:       cfg.Log,
		metrics:   newMetrics(cfg.Registerer),
		seed:      maphash.MakeSeed(),
		table:     commands(),
		sessions:  newRegistry(),
		admission: newAdmission(&cfg.Limits, cfg.Log, cfg.Registerer),
		board:     newPresenceBoard(cfg.Limits.QueueBytes),
		farewell:  newFarewells(cfg.Timing.OfflineGrace),
		jumped:    make(chan struct{}, 1),
	}
	ctx, giveUp := context.WithCancel(context.Background())
	srv.life = &life{stopping: make(chan struct{}), ctx: ctx, giveUp: giveUp}
	srv.metrics.observeQueues(cfg.Registerer, srv.queuedBytes)
	srv.texts = newPlaceholders(cipher, cfg.Media)
	for cmd, r := range srv.table {
		r.received = srv.metrics.pdus.WithLabelValues(cmd.String(), "in")
	}
	return srv, nil
}

// Run delivers events and signals and announces presence, until ctx ends or a subscription does.
func (srv *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	for name, part := range map[string]func(context.Context) error{
		"events": srv.deliverEvents, "signals": srv.deliverSignals, "presence": srv.announcePresence, "farewells": srv.sayFarewells, "jumps": srv.endAfterJumps,
		"cursors": srv.keepCursors, "marks": srv.tellProgress, "login queue": srv.tellQueue, "displaced": srv.endDisplaced,
	} {
		parts.Go(func() { // ends with ctx
			if err := part(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("gateway: %s: %w", name, err))
			}
		})
	}
	parts.Wait()
	return context.Cause(ctx)
}

// Shutdown lets nobody in, stops reading, answers what was read, flushes and closes. When ctx ends first, the connections left are broken;
// either way it returns when all have ended.
func (srv *Server) Shutdown(ctx context.Context) error {
	defer srv.life.giveUp()
	open := srv.sessions.stop()
	srv.life.once.Do(func() { close(srv.life.stopping) })
	for _, s := range open {
		s.end(ending{reason: reasonShutdown, code: protocol.CodeDraining})
	}
	done := make(chan struct{})
	go func() { // ends with the last session, which the lines below see to
		defer close(done)
		srv.sessions.serving.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	srv.life.giveUp()
	for _, s := range open {
		s.cancel()
		_ = s.conn.Close(protocol.CodeDraining)
	}
	<-done
	return fmt.Errorf("gateway: shutdown: %w", ctx.Err())
}

// admit counts a new connection, or says why it is not taken.
func (srv *Server) admit(s *session) refusal {
	why := srv.sessions.open(s, &srv.limits)
	if why != "" {
		srv.log.Debug("connection refused", "remote", s.addr, "reason", why)
		s.cancel()
		return why
	}
	srv.metrics.open.Inc()
	return ""
}

// dismiss is the end of an admitted connection.
func (srv *Server) dismiss(s *session) {
	e := s.endingOf()
	srv.depart(s) // it may have arrived while it was ending
	srv.metrics.open.Dec()
	srv.metrics.closed.WithLabelValues(string(e.reason)).Inc()
	srv.log.Debug("connection ended", "conn", s.id, "user", s.user, "remote", s.addr, "reason", e.reason)
	srv.sessions.close(s)
}

// queuedBytes is what waits to be sent to all sessions.
func (srv *Server) queuedBytes() float64 {
	sum := 0
	for _, s := range srv.sessions.everybody(nil, nil) {
		sum += s.out.waiting()
	}
	return float64(sum)
}

// arrive makes a session that has proved who it is known to everybody, and ends those it displaces. False: the server is full.
func (srv *Server) arrive(s *session, u protocol.UserID, c protocol.ClientType) bool {
	displaced, ok := srv.sessions.enter(s, u, c, &srv.limits)
	if !ok {
		return false
	}
	if carrier, ok := s.conn.(transport.Carrier); ok {
		carrier.LoggedIn(u)
	}
	srv.metrics.sessions.WithLabelValues(class(c)).Inc()
	wasShown := srv.isShown(u)
	srv.presence.Join(protocol.LiveSession{User: u, Conn: s.id, Client: c, Device: s.deviceID()}, legacyOnly(displaced)...)
	if s.ext == nil && !srv.sessions.has(s) { // it has ended meanwhile, and may have left the table before it joined
		srv.presence.Leave(u, s.id)
	}
	for _, old := range displaced {
		srv.gone(old)
		srv.displace(old, s.whyDisplaces(old), protocol.LiveSession{Conn: s.id, Node: protocol.NodeID(srv.hub.node)})
	}
	srv.announce(s, wasShown)
	return true
}

// depart makes an ending session unknown; once, however often it is called.
func (srv *Server) depart(s *session) {
	if srv.sessions.leave(s) {
		srv.gone(s)
	}
}

// gone takes back what arrive did for a session that is no longer in the registry.
func (srv *Server) gone(s *session) {
	srv.metrics.sessions.WithLabelValues(class(s.client)).Dec()
	if s.ext == nil || !srv.hub.forget(s) {
		srv.absent(s)
	}
}

// absent takes a session off the table of who is connected: that of an extended client once none of its requests is carried out any more, because the
// next session of its device waits for that, on whichever node it is [TT-SESS-3].
func (srv *Server) absent(s *session) {
	srv.presence.Leave(s.user, s.id)
	switch {
	case s.client.IsMobile():
	case s.endingOf().reason == reasonLogout:
		srv.sayOffline(s.user) // [TT-PRES-2]
	default:
		srv.farewell.add(s.user)
	}
}

func class(c protocol.ClientType) string {
	if c.IsMobile() {
		return "mobile"
	}
	return "pc"
}
