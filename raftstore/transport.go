package raftstore

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transport watches what raft says to its peers, and hurries commits to them (nudger).
type transport struct {
	raft.Transport
	nudges *nudger
	silent func() bool   // whether to say nothing to the others, so that they look for another leader; nil: never
	calls  chan raft.RPC // what raft reads instead of the inner transport's
	stands chan *standing
	has    func(term, index, of uint64) bool // whether a snapshot that is sent in a term, of an entry and its term, brings nothing new; nil: it is not known
	stop   chan struct{}
	relay  sync.WaitGroup
}

// preVoteTransport is a transport whose inner one can ask for votes in advance; raft looks for the method.
type preVoteTransport struct{ *transport }

// RequestPreVote asks a peer whether it would vote.
func (t preVoteTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse) error {
	return t.Transport.(raft.WithPreVote).RequestPreVote(id, target, req, resp)
}

// newTransport wraps inner. elect makes raft stand for election at once: it is the only voter, and has nobody to wait for.
func newTransport(inner raft.Transport, nudges *nudger, elect bool, has func(term, index, of uint64) bool) (*transport, raft.Transport) {
	t := &transport{Transport: inner, nudges: nudges, has: has, calls: make(chan raft.RPC), stands: make(chan *standing), stop: make(chan struct{})}
	nudges.send = inner
	t.relay.Go(func() { t.pass(elect) }) // ended and joined by detach
	if _, ok := inner.(raft.WithPreVote); ok {
		return t, preVoteTransport{t}
	}
	return t, t
}

// standing is a wish that raft stands for election.
type standing struct {
	term  uint64
	still func() bool
	done  chan bool
}

// standTime is how long raft has to take notice of a wish; it is busy for that long with votes and writes only.
const standTime = 200 * time.Millisecond

// pass hands incoming calls on; detach ends it.
func (t *transport) pass(elect bool) {
	if elect {
		select {
		case t.calls <- standNow():
		case <-t.stop:
			return
		}
	}
	var asked time.Time // when somebody last wanted this node's vote, and for which term
	var term uint64
	for {
		select {
		case call := <-t.Transport.Consumer():
			if r, ok := call.Command.(*raft.RequestVoteRequest); ok {
				asked, term = time.Now(), r.Term
			}
			if r, ok := call.Command.(*raft.InstallSnapshotRequest); ok && t.has != nil && t.has(r.Term, r.LastLogIndex, r.LastLogTerm) {
				t.relay.Go(func() { declineSnapshot(call, r) }) // ends with the stream
				continue
			}
			select {
			case t.calls <- call:
			case <-t.stop:
				return
			}
		case s := <-t.stands:
			isAnothers := term > s.term && time.Since(asked) < standTime
			s.done <- !isAnothers && s.still() && t.deliver()
		case <-t.stop:
			return
		}
	}
}

// declineSnapshot answers a snapshot of what this node has already, as one does that comes twice or late. raft would drop the whole log for it,
// with entries that were acknowledged, and go on as if they were there.
func declineSnapshot(call raft.RPC, r *raft.InstallSnapshotRequest) {
	_, err := io.Copy(io.Discard, call.Reader)
	call.Respond(&raft.InstallSnapshotResponse{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: r.Term, Success: err == nil}, err)
}

// standNow is what a leader says to the node that is to follow it.
func standNow() raft.RPC {
	return raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}},
		RespChan: make(chan raft.RPCResponse, 1)}
}

func (t *transport) deliver() bool {
	limit := time.NewTimer(standTime)
	defer limit.Stop()
	select {
	case t.calls <- standNow():
		return true
	case <-limit.C:
	case <-t.stop:
	}
	return false
}

// stand has raft stand for election after a term at once, as if its leader had asked it to; false if it doesn't. raft obeys whatever it
// is at that moment, a leader even: so still is asked last of all, after whatever came from others before was handed to raft, and if
// another node has just asked for this one's vote, that one goes first.
func (t *transport) stand(term uint64, still func() bool) bool {
	s := &standing{term: term, still: still, done: make(chan bool, 1)}
	select {
	case t.stands <- s:
	case <-t.stop:
		return false
	}
	select {
	case ok := <-s.done:
		return ok
	case <-t.stop:
		return false
	}
}

// Consumer yields incoming calls.
func (t *transport) Consumer() <-chan raft.RPC { return t.calls }

// Close ends the nudges and closes the inner transport. raft calls it once.
func (t *transport) Close() error {
	t.detach()
	if c, ok := t.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// detach ends what was put around the inner transport.
func (t *transport) detach() {
	close(t.stop)
	t.nudges.close()
	t.relay.Wait()
}

// AppendEntries sends one request and notes what the peer acknowledged.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.isSilent() {
		return errSilent
	}
	if isHeartbeat(req) {
		return t.Transport.AppendEntries(id, target, req, resp)
	}
	p := t.nudges.sending(id, target, req)
	err := t.Transport.AppendEntries(id, target, req, resp)
	if err != nil {
		p.failed()
		return err
	}
	p.answered(req, resp)
	return nil
}

var errSilent = errors.New("this node says nothing while its disk hangs")

func (t *transport) isSilent() bool { return t.silent != nil && t.silent() }

// isHeartbeat is how raft's transports tell it.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
}

// InstallSnapshot streams the state to a peer and notes how far it is.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader) error {
	p := t.nudges.peer(id)
	p.stream(int64(req.LastLogIndex), req.Size)
	defer p.stream(0, 0)
	return t.Transport.InstallSnapshot(id, target, req, resp, &countingReader{data, p})
}

type countingReader struct {
	from io.Reader
	peer *peerLog
}

// Read reads and counts.
func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.peer.streamed(n)
	return n, err
}

// AppendEntriesPipeline opens a stream of requests and notes what the peer acknowledges.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.Transport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{inner: inner, nudges: t.nudges, silent: t.isSilent, id: id, target: target, out: make(chan raft.AppendFuture), stop: make(chan struct{}),
		done: make(chan struct{})}
	go p.run()
	return p, nil
}

type pipeline struct {
	inner  raft.AppendPipeline
	nudges *nudger
	silent func() bool
	id     raft.ServerID
	target raft.ServerAddress
	out    chan raft.AppendFuture
	stop   chan struct{}
	done   chan struct{}
}

// run notes answers and hands them on; Close ends it.
func (p *pipeline) run() {
	defer close(p.done)
	peer := p.nudges.peer(p.id)
	for {
		select {
		case f := <-p.inner.Consumer():
			if f.Error() != nil {
				peer.failed()
			} else {
				peer.answered(f.Request(), f.Response())
			}
			select {
			case p.out <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

// AppendEntries sends a request without waiting for its answer.
func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.silent() {
		return nil, errSilent
	}
	peer := p.nudges.sending(p.id, p.target, req)
	f, err := p.inner.AppendEntries(req, resp)
	if err != nil {
		peer.failed()
	}
	return f, err
}

// Consumer yields the requests that were answered.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

// Close ends the stream. raft calls it once.
func (p *pipeline) Close() error {
	close(p.stop)
	err := p.inner.Close()
	<-p.done
	return err
}
