package raftstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Neighbours is what a store wants of the links to the other nodes, to notice at once that a leader's process has ended. It
// tells the store of them by Linked and Refused.
type Neighbours interface {
	// Ask has the store of a node Answer a question.
	Ask(ctx context.Context, node NodeID, question []byte) (answer []byte, err error)
	// Connected reports whether a connection of raft's that the node made to this one is open. It must be quick.
	Connected(node NodeID) bool
}

const (
	// refusalGap is how far apart the two refusals are that make a node certain.
	refusalGap = 20 * time.Millisecond
	// askTime is how long the other voters have for their answers.
	askTime = 100 * time.Millisecond
	// askAgain is how long to wait for others to notice it too, and for the last connection to end.
	askAgain = 10 * time.Millisecond
	// yieldTime is how long a node waits for each one that has more right to stand.
	yieldTime = 150 * time.Millisecond
	// standAgain is how long a node that stood leaves it to raft's timers.
	standAgain = 3 * time.Second
)

// suspects has this node stand for election as soon as the leader's process is certainly gone, instead of after raft's timer.
//
// A dead process is told from a slow, paused or cut-off one by its machine: it ends the connections and refuses new ones. When this
// node has seen both, it asks the other voters. If most of the voters (this one counts) say the same of the same leader, he leads
// nobody any more, so that no living leader is deposed. The one with the longest log stands, the lowest id among equals, by what
// raft does when a leader hands over: the others then vote although they have not yet given up their leader by themselves.
type suspects struct {
	self   NodeID
	raft   *raft.Raft
	leader *leaderWatch
	others Neighbours
	stand  func(term uint64, still func() bool) bool // see transport.stand
	head   func() logPlace
	beat   time.Duration
	log    *slog.Logger
	stood  prometheus.Counter
	kick   chan struct{}
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex // guards what follows
	lost  map[NodeID]*loss
	until time.Time // when this node may stand again
}

// loss is a link that broke and was not made anew.
type loss struct {
	refusals    int
	first, last time.Time
}

func (s *Store) newSuspects(t *transport, beat time.Duration) *suspects {
	ctx, cancel := context.WithCancel(context.Background())
	return &suspects{self: s.cfg.NodeID, raft: s.raft, leader: s.leader, others: s.cfg.Neighbours, stand: t.stand, head: s.lastEntry,
		beat: beat, log: s.log, stood: s.cluster.metrics.hurried, kick: make(chan struct{}, 1), ctx: ctx, cancel: cancel,
		done: make(chan struct{}), lost: make(map[NodeID]*loss)}
}

// Linked tells the store that the link to a node came up, or broke.
func (s *Store) Linked(node NodeID, up bool) {
	u := s.cluster.suspects
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.lost, node)
	if !up {
		u.lost[node] = &loss{}
	}
}

// Refused tells the store that the node's machine is there and nobody listens at the node's address. It counts if the link
// was up before.
func (s *Store) Refused(node NodeID) {
	u := s.cluster.suspects
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lost[node]
	if l == nil {
		return
	}
	l.last = time.Now()
	if l.refusals++; l.refusals == 1 {
		l.first = l.last
	}
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// Answer is what this node tells another one that asks through its Neighbours.
func (s *Store) Answer(question []byte) ([]byte, error) {
	at, err := decodeQuestion(question)
	if err != nil {
		return nil, err
	}
	var t testimony
	if u := s.cluster.suspects; u != nil {
		t.head = u.head()
		switch now, ok := s.leader.seat(); {
		case !ok || now.term > at.term:
			t.says = movedOn
		case now == at && u.gone(at.node, 1):
			t.says = lostHim
		}
	}
	return t.encode(), nil
}

func (u *suspects) close() {
	u.cancel()
	<-u.done
}

// run waits for news; close ends it.
func (u *suspects) run() {
	defer close(u.done)
	for {
		select {
		case <-u.kick:
			u.pursue()
		case <-u.ctx.Done():
			return
		}
	}
}

// certain reports whether the link to a leader broke, new ones were refused so often, and nothing was heard of him since.
func (u *suspects) certain(leader NodeID, refusals int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lost[leader]
	if l == nil || l.refusals < refusals || refusals > 1 && l.last.Sub(l.first) < refusalGap {
		return false
	}
	return u.raft.LastContact().Before(l.last)
}

// gone is certain, and that all connections have ended by which raft would hear of him.
func (u *suspects) gone(leader NodeID, refusals int) bool {
	return u.certain(leader, refusals) && !u.others.Connected(leader)
}

// suspected is the leader that this node follows, has lost, and could replace.
func (u *suspects) suspected() (seat, bool) {
	at, ok := u.leader.seat()
	if !ok || at.node == u.self || u.raft.State() != raft.Follower {
		return seat{}, false
	}
	u.mu.Lock()
	early := time.Now().Before(u.until)
	u.mu.Unlock()
	return at, !early && u.certain(at.node, 2) && slices.Contains(u.voters(), u.self)
}

func (u *suspects) voters() []NodeID {
	var ids []NodeID
	for _, m := range u.raft.GetConfiguration().Configuration().Servers {
		if m.Suffrage == raft.Voter {
			ids = append(ids, NodeID(m.ID))
		}
	}
	return ids
}

// pursue stands for election, or leaves it to another one, as long as the leader is suspected; at the latest raft's timer ends it.
func (u *suspects) pursue() {
	begun := time.Now()
	yielded := 0
	for time.Since(begun) < u.beat {
		at, ok := u.suspected()
		if !ok {
			return
		}
		changed := u.leader.changes()
		pause := askAgain
		if u.gone(at.node, 2) {
			switch agree, ahead := u.inquire(at); {
			case agree && ahead <= yielded:
				if u.standFor(at) {
					return
				}
			case agree:
				yielded++
				pause = yieldTime
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-changed:
		case <-t.C:
		case <-u.ctx.Done():
		}
		t.Stop()
		if u.ctx.Err() != nil {
			return
		}
	}
}

// inquire asks the other voters, and says whether most have lost the leader, and how many of those have more right to stand than this
// node: by their logs, then by their ids.
func (u *suspects) inquire(at seat) (agree bool, ahead int) {
	voters := u.voters()
	answers := make(chan witness, len(voters))
	ctx, cancel := context.WithTimeout(u.ctx, askTime)
	defer cancel()
	asked := 0
	for _, id := range voters {
		if id == u.self || id == at.node {
			continue
		}
		asked++
		go func() { // ends with ctx, which this function waits for
			raw, err := u.others.Ask(ctx, id, encodeQuestion(at))
			w := witness{node: id}
			if err == nil {
				w.testimony, err = decodeTestimony(raw)
			}
			if err != nil {
				u.log.Debug("a node doesn't say whether it has lost the leader", "node", id, "error", err)
			}
			answers <- w
		}()
	}
	mine := u.head()
	agreed := 1
	for range asked {
		switch w := <-answers; w.says {
		case lostHim:
			agreed++
			if w.head.after(mine) || w.head == mine && w.node < u.self {
				ahead++
			}
		case movedOn: // it stands itself, perhaps
			ahead++
		case keepsHim:
		}
	}
	return agreed > len(voters)/2, ahead
}

// standFor stands in place of a lost leader, and reports whether it did: things may have changed meanwhile.
func (u *suspects) standFor(at seat) bool {
	still := func() bool {
		now, ok := u.leader.seat()
		return ok && now == at && u.raft.State() == raft.Follower && u.gone(at.node, 2)
	}
	silent := time.Since(u.raft.LastContact()).Round(time.Millisecond)
	if !u.stand(at.term, still) {
		u.log.Debug("did not stand for election after all", "node", u.self, "leader", at.node, "term", at.term)
		return false
	}
	u.mu.Lock()
	u.until = time.Now().Add(standAgain)
	u.mu.Unlock()
	u.stood.Inc()
	u.log.Info("standing for election at once: most voters find the leader's process gone", "node", u.self, "leader", at.node, "term", at.term,
		"silent", silent)
	return true
}

// lastEntry is how far this node's log is.
func (s *Store) lastEntry() logPlace {
	var l raft.Log
	if last := s.raft.LastIndex(); s.logs.GetLog(last, &l) == nil {
		return logPlace{last, l.Term}
	}
	at := s.fsm.position() // the log is cut off behind it
	return logPlace{at.index, at.term}
}

// after orders logs as elections do.
func (p logPlace) after(o logPlace) bool {
	return p.term > o.term || p.term == o.term && p.index > o.index
}

// witness is a node and what it says.
type witness struct {
	node NodeID
	testimony
}

// testimony is what a node says of the leader it was asked about, and how far its log is.
type testimony struct {
	says verdict
	head logPlace
}

type verdict uint8

const (
	keepsHim verdict = iota // or knows too little, or says what this version doesn't know
	lostHim
	movedOn // knows another, or none
)

// suspectFormat begins questions and answers.
const suspectFormat = 1

func encodeQuestion(at seat) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{suspectFormat}, at.term), at.node...)
}

func decodeQuestion(raw []byte) (seat, error) {
	if len(raw) < 10 || raw[0] != suspectFormat {
		return seat{}, fmt.Errorf("raftstore: unknown question of %d bytes", len(raw))
	}
	return seat{NodeID(raw[9:]), binary.BigEndian.Uint64(raw[1:])}, nil
}

func (t testimony) encode() []byte {
	raw := []byte{suspectFormat, byte(t.says)}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(raw, t.head.term), t.head.index)
}

func decodeTestimony(raw []byte) (testimony, error) {
	if len(raw) < 18 || raw[0] != suspectFormat {
		return testimony{}, errors.New("unknown answer")
	}
	return testimony{verdict(raw[1]), logPlace{term: binary.BigEndian.Uint64(raw[2:]), index: binary.BigEndian.Uint64(raw[10:])}}, nil
}
