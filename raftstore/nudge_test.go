package raftstore

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"teamtalk/protocol"
)

// On an idle cluster a follower has a command soon after its ack, not after the next CommitTimeout.
func TestFollowersHearOfCommitsAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("several nodes: not with -short")
	}
	tuning := clusterTuning()
	tuning.CommitTimeout = 200 * time.Millisecond
	tuning.Heartbeat = 2 * time.Second
	for name, start := range map[string]func() []*Store{
		"in memory": func() (stores []*Store) {
			for _, n := range newCluster(t, 3, tuning).all() {
				stores = append(stores, n.Store)
			}
			return stores
		},
		"loopback": func() []*Store { return startTCP(t, tuning) },
	} {
		t.Run(name, func(t *testing.T) {
			p50, p99 := followerLag(t, start())
			t.Logf("a follower has a command %.2f ms after its ack (p99 %.2f ms)", p50, p99)
			if p50 > 100 {
				t.Errorf("a follower hears of a commit after %.2f ms (p50)", p50)
			}
		})
	}
}

func followerLag(t *testing.T, stores []*Store) (p50, p99 float64) {
	var l *Store
	eventually(t, "a leader", func() bool {
		for _, s := range stores {
			if s.raft.VerifyLeader().Error() == nil {
				l = s
			}
		}
		return l != nil
	})
	propose(t, l, "first")
	var lags []time.Duration
	for i := range 100 {
		at := propose(t, l, fmt.Sprint(i))
		start := time.Now()
		for _, s := range stores {
			if s == l {
				continue
			}
			if err := s.WaitApplied(t.Context(), protocol.Cursor(at.Index)); err != nil {
				t.Fatal(err)
			}
			lags = append(lags, time.Since(start))
		}
	}
	return percentile(lags, 50), percentile(lags, 99)
}

// startTCP starts three nodes with raft's own network transport.
func startTCP(t *testing.T, tuning Tuning) (stores []*Store) {
	var members []Member
	var transports []raft.Transport
	for i := range 3 {
		trans, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 5*time.Second, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(trans.CloseStreams) // after the stores
		transports = append(transports, trans)
		members = append(members, Member{NodeID(fmt.Sprint("n", i+1)), string(trans.LocalAddr())})
	}
	for i, m := range members {
		cfg := single(t, dataPath(t))
		cfg.NodeID, cfg.Transport, cfg.Bootstrap, cfg.Tuning = m.ID, transports[i], members, tuning
		stores = append(stores, open(t, cfg))
	}
	return stores
}

// sentRequests takes what is sent.
type sentRequests struct {
	raft.Transport
	sent chan *raft.AppendEntriesRequest
}

func (s *sentRequests) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, req *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) error {
	s.sent <- req
	return nil
}

// A nudge claims only what the peer acknowledged in the term of raft's last request.
func TestNudgesClaimOnlyWhatIsAcknowledged(t *testing.T) {
	type ack struct {
		term, prev, prevTerm uint64
		entries              []logPlace
		commit               uint64
		refused              bool
	}
	tests := map[string]struct {
		acks   []ack
		commit logPlace
		want   *raft.AppendEntriesRequest
	}{
		"nothing acknowledged": {nil, logPlace{5, 1}, nil},
		"all acknowledged": {[]ack{{term: 2, prev: 4, prevTerm: 1, entries: []logPlace{{5, 2}, {6, 2}}, commit: 4}}, logPlace{5, 2},
			&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 5, PrevLogTerm: 2, LeaderCommitIndex: 5}},
		"less acknowledged than committed": {[]ack{{term: 3, prev: 4, prevTerm: 1, entries: []logPlace{{5, 2}}, commit: 4}}, logPlace{9, 3},
			&raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 5, PrevLogTerm: 2, LeaderCommitIndex: 5}},
		"told already":    {[]ack{{term: 2, prev: 5, prevTerm: 2, commit: 5}}, logPlace{5, 2}, nil},
		"refused":         {[]ack{{term: 2, prev: 5, prevTerm: 2, commit: 3, refused: true}}, logPlace{5, 2}, nil},
		"of a later term": {[]ack{{term: 2, prev: 5, prevTerm: 2, commit: 3}}, logPlace{5, 3}, nil},
		"term changed": {[]ack{{term: 2, prev: 4, prevTerm: 1, entries: []logPlace{{5, 2}}, commit: 4}, {term: 3, prev: 9, prevTerm: 2, refused: true}},
			logPlace{5, 2}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNudger(func() {})
			n.send = &sentRequests{sent: make(chan *raft.AppendEntriesRequest, 9)}
			p := n.peer("p")
			for _, a := range tt.acks {
				req := &raft.AppendEntriesRequest{Term: a.term, PrevLogEntry: a.prev, PrevLogTerm: a.prevTerm, LeaderCommitIndex: a.commit}
				for _, e := range a.entries {
					req.Entries = append(req.Entries, &raft.Log{Index: e.index, Term: e.term})
				}
				n.sending("p", "p", req).answered(req, &raft.AppendEntriesResponse{Success: !a.refused})
			}
			got, _ := p.news(tt.commit)
			if (got == nil) != (tt.want == nil) {
				t.Fatalf("says %+v, want %+v", got, tt.want)
			}
			if got != nil && (got.Term != tt.want.Term || got.PrevLogEntry != tt.want.PrevLogEntry || got.PrevLogTerm != tt.want.PrevLogTerm ||
				got.LeaderCommitIndex != tt.want.LeaderCommitIndex || len(got.Entries) != 0 || isHeartbeat(got)) {
				t.Errorf("says %+v, want %+v", got, tt.want)
			}
			if again, _ := p.news(tt.commit); again != nil {
				t.Errorf("says it twice: %+v", again)
			}
			n.close()
		})
	}
}

// Without pre-vote in the inner transport raft isn't told that there is one.
func TestTransportKeepsPreVote(t *testing.T) {
	_, inner := raft.NewInmemTransport("x")
	outer, with := newTransport(inner, newNudger(func() {}), false, nil)
	defer outer.detach()
	if _, ok := with.(raft.WithPreVote); !ok {
		t.Error("pre-vote was lost")
	}
	plain, without := newTransport(&sentRequests{Transport: inner}, newNudger(func() {}), false, nil)
	defer plain.detach()
	if _, ok := without.(raft.WithPreVote); ok {
		t.Error("pre-vote was made up")
	}
}

// A new node gets the state streamed; both ends say how far it is, and nothing is left of that afterwards.
func TestStatusOfTransfers(t *testing.T) {
	var in incoming
	in.set(7, 100)
	if got := in.get(); got.Index != 7 || got.Bytes != 100 {
		t.Errorf("receiving %+v", got)
	}
	n := newNudger(func() {})
	defer n.close()
	p := n.peer("p")
	p.stream(9, 1000)
	p.streamed(400)
	var m MemberProgress
	m.ID = "p"
	n.describe(&m, 1, 20)
	if m.Sending != (Transfer{9, 400, 1000}) || m.Known {
		t.Errorf("sending %+v", m)
	}
	req := &raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 12, PrevLogTerm: 1}
	n.sending("p", "p", req).answered(req, &raft.AppendEntriesResponse{Success: true})
	p.stream(0, 0)
	n.describe(&m, 1, 20)
	if !m.Known || m.Matched != 12 || m.Lag != 8 || m.Sending != (Transfer{}) {
		t.Errorf("member is %+v", m)
	}
}
