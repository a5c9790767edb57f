package federation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Manager keeps this cluster's links with others. On a node that does not lead it only tells others so.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	papers  certificates
	metrics *metrics
	ops     operations
	files   fetches

	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup
	again chan struct{} // holds one token: look at the state again

	looking chan struct{} // holds a token while somebody compares what is with what should be, which may take a while
	seen    seen          // guarded by looking
	opened  map[fed.ClusterID]opened

	mu      sync.Mutex // guards what follows
	term    *term      // nil: no links are kept here
	why     fed.Goodbye
	room    *semaphore.Weighted // of bytes that have come and are not executed
	commits *semaphore.Weighted // of events that are being committed
	tallies map[fed.ClusterID]*tally
	closed  bool
}

// New makes a manager that does nothing by itself until Start.
func New(cfg Config) (*Manager, error) {
	if cfg.State == nil {
		return nil, errors.New("federation: no state")
	}
	cfg.setDefaults()
	m := &Manager{cfg: cfg, room: semaphore.NewWeighted(maxReceived), commits: semaphore.NewWeighted(maxCommits), opened: map[fed.ClusterID]opened{}, log: cfg.Log, again: make(chan struct{}, 1), looking: make(chan struct{}, 1), tallies: map[fed.ClusterID]*tally{}, why: notLeading()}
	m.ctx, m.stop = context.WithCancel(context.Background())
	var err error
	m.metrics, err = newMetrics(m, cfg.Registerer)
	return m, err
}

func notLeading() fed.Goodbye {
	return fed.Goodbye{Reason: fed.ReasonElsewhere, Text: "another node of this cluster leads"}
}

// Start begins to keep links whenever this node leads.
func (m *Manager) Start() {
	m.wg.Go(m.watch) // all end with Close
	m.wg.Go(func() { m.talk(m.ctx) })
	if m.cfg.Events != nil {
		m.wg.Go(m.follow)
	}
}

// Close ends all links and waits for what goes on.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.looking <- struct{}{}
	m.resign(fed.Goodbye{Reason: fed.ReasonMoved, Text: "this node stops"})
	<-m.looking
	m.stop()
	m.wg.Wait()
	m.metrics.close()
}

// watch looks at who leads and which links there should be, every so often and when somebody pokes.
func (m *Manager) watch() {
	t := time.NewTicker(m.cfg.Timing.Tick)
	defer t.Stop()
	for {
		m.look(false)
		select {
		case <-t.C:
		case <-m.again:
			m.look(true)
		case <-m.ctx.Done():
			return
		}
	}
}

// poke has the links follow a change of peers or identity soon.
func (m *Manager) poke() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// follow wakes links that have something to send.
func (m *Manager) follow() {
	for {
		events, err := m.cfg.Events.Next(m.ctx)
		if err != nil {
			return // closed, or ctx ended
		}
		for i := range events {
			switch e := events[i].Body.(type) {
			case protocol.FederationQueued:
				m.linkOf(e.Cluster).queued()
			case protocol.Jumped:
				for _, l := range m.links() {
					l.queued()
				}
			}
		}
		m.observe(events)
	}
}

// leads reports whether this node keeps the links.
func (m *Manager) leads() bool { return m.current() != nil }

// current is the term in which this node keeps links; nil: it does not.
func (m *Manager) current() *term {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.term
}

// linkOf is the link with a peer; nil: there is none now.
func (m *Manager) linkOf(peer fed.ClusterID) *link {
	if k := m.keeperOf(peer); k != nil {
		return k.standing()
	}
	return nil
}

func (m *Manager) keeperOf(peer fed.ClusterID) *keeper {
	if t := m.current(); t != nil {
		return t.keeper(peer)
	}
	return nil
}

// links are all that stand.
func (m *Manager) links() (all []*link) {
	t := m.current()
	if t == nil {
		return nil
	}
	for _, k := range t.all() {
		if l := k.standing(); l != nil {
			all = append(all, l)
		}
	}
	return all
}

// linkViews are the parts of views that only links know.
func (m *Manager) linkViews() map[fed.ClusterID]LinkView {
	t := m.current()
	if t == nil {
		return nil
	}
	views := map[fed.ClusterID]LinkView{}
	for _, k := range t.all() {
		views[k.peer] = k.view()
	}
	return views
}

func (m *Manager) tallyOf(peer fed.ClusterID) *tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.tallies[peer]
	if c == nil {
		c = &tally{}
		m.tallies[peer] = c
	}
	return c
}

// goodbye is why no links are kept here.
func (m *Manager) goodbye() fed.Goodbye {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}
