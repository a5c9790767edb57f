package raftstore

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// nudger tells followers at once what is committed. By itself raft tells them with the next entry, or after CommitTimeout.
//
// A nudge is an empty AppendEntries that repeats what raft said before: the header and the term of its last request to the
// peer. As previous entry it names one that the peer acknowledged in that term, and as commit index the same. So it claims
// nothing that the peer doesn't hold, and a leader that was replaced meanwhile is refused by its term as always. It never
// looks like a heartbeat, as that says nothing of commits and is answered beside the log.
type nudger struct {
	send  raft.Transport // the inner one; set before the first call
	count func()
	stop  chan struct{}
	wg    sync.WaitGroup

	mu        sync.Mutex // guards what follows
	peers     map[raft.ServerID]*peerLog
	committed logPlace
	closed    bool
}

// logPlace is an entry of the log.
type logPlace struct{ index, term uint64 }

// peerLog is what this node, as a leader, knows of a peer's log.
type peerLog struct {
	nudges *nudger
	wake   chan struct{} // holds a token when there may be something to tell

	mu      sync.Mutex // guards what follows
	id      raft.ServerID
	target  raft.ServerAddress
	header  raft.RPCHeader
	term    uint64
	matched logPlace // acknowledged in term
	told    uint64   // highest commit index sent in term
	heard   time.Time
	sending Transfer
}

// Transfer is how far the copy of a state is on its way to a node.
type Transfer struct {
	Index uint64 // of the state; 0: none is under way
	Bytes int64  // so far
	Total int64  // 0: not known
}

func newNudger(count func()) *nudger {
	return &nudger{count: count, stop: make(chan struct{}), peers: make(map[raft.ServerID]*peerLog)}
}

// peer returns what is known of a peer, and begins to know it.
func (n *nudger) peer(id raft.ServerID) *peerLog {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[id]
	if p == nil {
		p = &peerLog{nudges: n, id: id, wake: make(chan struct{}, 1)}
		n.peers[id] = p
		if !n.closed {
			n.wg.Go(p.run) // ended and joined by close
		}
	}
	return p
}

// commit says that all up to an entry is committed; a leader's state machine is about to execute it.
func (n *nudger) commit(at logPlace) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.index <= n.committed.index {
		return
	}
	n.committed = at
	for _, p := range n.peers {
		p.rouse()
	}
}

func (n *nudger) commits() logPlace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.committed
}

func (n *nudger) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	close(n.stop)
	n.wg.Wait()
}

func (p *peerLog) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// sending notes a request before raft sends it.
func (n *nudger) sending(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest) *peerLog {
	p := n.peer(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.Term != p.term {
		p.term, p.matched, p.told = req.Term, logPlace{}, 0
	}
	p.target, p.header = target, req.RPCHeader
	p.told = max(p.told, req.LeaderCommitIndex)
	return p
}

// answered notes what a peer acknowledged.
func (p *peerLog) answered(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.Term != p.term {
		return
	}
	p.heard = time.Now()
	if !resp.Success {
		p.told = 0
		return
	}
	at := logPlace{req.PrevLogEntry, req.PrevLogTerm}
	if n := len(req.Entries); n > 0 {
		at = logPlace{req.Entries[n-1].Index, req.Entries[n-1].Term}
	}
	if at.index > p.matched.index {
		p.matched = at
	}
	if p.matched.index > p.told {
		p.rouse()
	}
}

// failed notes that a request was perhaps not heard.
func (p *peerLog) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = 0
}

func (p *peerLog) stream(index, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending = Transfer{Index: uint64(index), Total: total}
}

func (p *peerLog) streamed(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending.Bytes += int64(n)
}

// run sends nudges, the newest only; the nudger's close ends it.
func (p *peerLog) run() {
	for {
		select {
		case <-p.wake:
		case <-p.nudges.stop:
			return
		}
		req, target := p.news(p.nudges.commits())
		if req == nil {
			continue
		}
		p.nudges.count()
		var resp raft.AppendEntriesResponse
		if err := p.nudges.send.AppendEntries(p.id, target, req, &resp); err != nil {
			p.failed() // raft tells the peer in time
		}
	}
}

// news is what the peer holds, is committed, and has not been told as such; nil if there is nothing.
func (p *peerLog) news(committed logPlace) (*raft.AppendEntriesRequest, raft.ServerAddress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := committed
	if p.matched.index < at.index {
		at = p.matched
	}
	if at.index == 0 || at.index <= p.told || at.term > p.term {
		return nil, ""
	}
	p.told = at.index
	return &raft.AppendEntriesRequest{RPCHeader: p.header, Term: p.term, PrevLogEntry: at.index, PrevLogTerm: at.term,
		LeaderCommitIndex: at.index}, p.target
}
