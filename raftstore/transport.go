package raftstore

import (
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// transport watches what raft says to its peers, and hurries commits to them (nudger).
type transport struct {
	raft.Transport
	nudges *nudger
	// calls is what raft reads instead of the inner transport's; nil: the same.
	calls chan raft.RPC
	stop  chan struct{}
	relay sync.WaitGroup
}

// preVoteTransport is a transport whose inner one can ask for votes in advance; raft looks for the method.
type preVoteTransport struct{ *transport }

// RequestPreVote asks a peer whether it would vote.
func (t preVoteTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse) error {
	return t.Transport.(raft.WithPreVote).RequestPreVote(id, target, req, resp)
}

// newTransport wraps inner. elect makes raft stand for election at once: it is the only voter, and has nobody to wait for.
func newTransport(inner raft.Transport, nudges *nudger, elect bool) (*transport, raft.Transport) {
	t := &transport{Transport: inner, nudges: nudges, stop: make(chan struct{})}
	nudges.send = inner
	if elect {
		t.calls = make(chan raft.RPC, 1)
		t.calls <- raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}},
			RespChan: make(chan raft.RPCResponse, 1)}
		t.relay.Go(t.pass)
	}
	if _, ok := inner.(raft.WithPreVote); ok {
		return t, preVoteTransport{t}
	}
	return t, t
}

// pass hands incoming calls on; Close ends it.
func (t *transport) pass() {
	for {
		select {
		case call := <-t.Transport.Consumer():
			select {
			case t.calls <- call:
			case <-t.stop:
				return
			}
		case <-t.stop:
			return
		}
	}
}

// Consumer yields incoming calls.
func (t *transport) Consumer() <-chan raft.RPC {
	if t.calls != nil {
		return t.calls
	}
	return t.Transport.Consumer()
}

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
	p := &pipeline{inner: inner, nudges: t.nudges, id: id, target: target, out: make(chan raft.AppendFuture), stop: make(chan struct{}),
		done: make(chan struct{})}
	go p.run()
	return p, nil
}

type pipeline struct {
	inner  raft.AppendPipeline
	nudges *nudger
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
