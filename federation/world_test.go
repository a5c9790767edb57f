package federation_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"teamtalk/federation"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A globe is several offices that are linked with each other: each a node alone with its real state, bus and manager, all in one bubble of virtual time, on
// a network in memory. One goroutine, the test's, has people speak and things happen.
type globe struct {
	*testing.T
	net    *simnet.Network
	log    *slog.Logger
	dir    string // in which the offices have theirs
	timing federation.Timing
	towns  []*town
	rooms  []*room
	said   []*said
	ending sync.WaitGroup // lives that are over for others, but whose parts still run
}

// townUsers is how many people an office has who speak. Their ids differ from office to office, so that one that is not translated is nobody's, or a filler's.
const townUsers = 4

// newGlobe makes offices that allow each other everything.
func newGlobe(t *testing.T, offices int) *globe { return slowGlobe(t, offices, 10*time.Second) }

// slowGlobe is one whose managers look around so often: what they do then costs real time.
func slowGlobe(t *testing.T, offices int, tick time.Duration) *globe {
	t.Helper()
	g := bareGlobe(t)
	g.timing.Tick = tick
	for i := range offices {
		g.found(i)
	}
	for i, a := range g.towns {
		for _, b := range g.towns[i+1:] {
			a.befriend(b.papers, fed.AllowAll)
			b.befriend(a.papers, fed.AllowAll)
		}
	}
	return g
}

// bareGlobe has no office yet.
func bareGlobe(t *testing.T) *globe {
	t.Helper()
	g := &globe{T: t, dir: ramDir(t), log: slog.New(slog.DiscardHandler), timing: federation.Timing{Tick: 10 * time.Second},
		net: simnet.NewNetwork(simnet.NewLink(1, simnet.Faults{Delay: 20 * time.Millisecond, Jitter: 2 * time.Millisecond}))}
	if os.Getenv("TT_LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	t.Cleanup(g.stop)
	return g
}

// ramDir is a directory in memory, where there is such a place.
func ramDir(t *testing.T) string {
	t.Helper()
	dir := "/dev/shm/teamtalk-test-" + rand.Text()
	if os.Mkdir(dir, 0o700) != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// stop ends all lives.
func (g *globe) stop() {
	for _, o := range g.towns {
		if l := o.life(); l != nil {
			o.set(nil)
			g.ending.Go(l.end) // all at once, as none waits for another then
		}
	}
	g.ending.Wait()
}

// found makes an office with its people.
func (g *globe) found(i int) *town {
	g.Helper()
	o := &town{globe: g, index: i, name: townName(i), place: fmt.Sprintf("o%d", i+1), papers: newPapers(byte(i+1), townName(i), fmt.Sprintf("o%d:443", i+1)),
		dir: filepath.Join(g.dir, fmt.Sprint(i)), told: map[tale][]protocol.MessageStateChanged{}}
	g.towns = append(g.towns, o)
	o.begin()
	history := sha256.Sum256([]byte(o.name))
	o.do(&protocol.FoundCluster{Cluster: protocol.Cluster{ID: o.papers.id, History: [16]byte(history[:16]), TokenKey: history, AddressKey: history}})
	o.do(&protocol.RaiseLevel{To: 3})
	identity := o.papers.identity
	identity.History = [16]byte(history[:16])
	o.do(&protocol.SetIdentity{Identity: o.pack(identity)})
	var users []protocol.NewUser
	for n := range o.first() + townUsers - 1 {
		users = append(users, protocol.NewUser{User: protocol.User{Name: fmt.Sprintf("%s%d", o.name, n+1), Nick: fmt.Sprintf("Nick%d", n+1)}})
	}
	o.do(&protocol.AddUsers{Users: users})
	for n := range 3 * i {
		o.do(&protocol.CreateGroup{Type: protocol.GroupNormal, Name: fmt.Sprintf("local%d", n), Members: []protocol.UserID{1}})
	}
	return o
}

func townName(i int) string {
	return []string{"hangzhou", "beijing", "singapore", "shanghai", "lisbon", "oslo"}[i]
}

// papers are what a cluster shows to others, and the keys it needs for that.
type papers struct {
	id       fed.ClusterID
	identity fed.Identity
	signer   *fed.Signer
	domain   string
}

// newPapers makes those of a cluster whose keys depend on the seed alone.
func newPapers(seed byte, name string, endpoints ...string) *papers {
	p := &papers{id: fed.ClusterID(bytes.Repeat([]byte{seed}, 16)), domain: name + ".example"}
	keyed := func(purpose byte) [32]byte { return sha256.Sum256([]byte{seed, purpose}) }
	p.identity = fed.Identity{Root: keyed(0), Epoch: 1, Keys: []fed.OwnKey{{Seed: keyed(1), Purpose: fed.KeyActive}, {Seed: keyed(2), Purpose: fed.KeyNext}}}
	p.publish(fed.Manifest{Serial: 1, Office: name, Endpoints: endpoints})
	return p
}

// publish signs a manifest with the keys of the moment.
func (p *papers) publish(m fed.Manifest) {
	root := ed25519.NewKeyFromSeed(p.identity.Root[:])
	m.Cluster, m.Root, m.Domain, m.Versions, m.Keys = p.id, publicOf(p.identity.Root), p.domain, fed.Current(), nil
	for _, k := range p.identity.Keys {
		m.Keys = append(m.Keys, fed.LinkKey{Public: publicOf(k.Seed), Purpose: k.Purpose})
	}
	p.identity.Manifest = fed.SignManifest(&m, root)
	p.signer = p.identity.Signer(p.id)
}

func publicOf(seed [32]byte) [32]byte {
	public, _ := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return [32]byte(public)
}

// pack encodes what commands carry as bytes.
func (g *globe) pack(v any) []byte {
	g.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		g.Fatal(err)
	}
	return b
}

// pass lets virtual time go by.
func (g *globe) pass(d time.Duration) { <-time.After(d) }

// until lets time go by until something is so, looking every so often, and gives up after a while.
func (g *globe) until(what string, within, every time.Duration, so func() error) {
	g.Helper()
	end := time.Now().Add(within)
	for {
		synctest.Wait()
		err := so()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			g.Fatalf("%s: not within %v: %v", what, within, err)
		}
		g.pass(every)
	}
}

// befriend has the office trust a cluster, or changes how far.
func (o *town) befriend(p *papers, allow fed.Allow) {
	o.rule(p, func(peer *fed.Peer) { peer.In, peer.Out = allow, allow })
}

// rule changes the rules of the link with a cluster.
func (o *town) rule(p *papers, change func(*fed.Peer)) {
	o.globe.Helper()
	next := fed.Peer{Manifest: p.identity.Manifest, State: fed.PeerConfirmed, In: fed.AllowAll, Out: fed.AllowAll}
	peers, err := o.life().store.FedPeers()
	if err != nil {
		o.globe.Fatal(err)
	}
	for _, known := range peers {
		if known.Cluster == p.id {
			next = known.Peer
		}
	}
	after := next.Version
	change(&next)
	o.do(&protocol.SetPeer{Cluster: p.id, Peer: o.pack(next), After: after})
}

func (o *town) pack(v any) []byte { return o.globe.pack(v) }

// do has a command carried out that has to succeed.
func (o *town) do(c protocol.Command) any {
	o.globe.Helper()
	res, err := o.try(c)
	if err != nil {
		o.globe.Fatalf("%s: %T: %v", o.name, c, err)
	}
	return res
}

// try has a command carried out.
func (o *town) try(c protocol.Command) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return o.life().store.Execute(ctx, c)
}

// path is the network between two offices; Up leads from the one that was founded first.
func (g *globe) path(a, b *town) *simnet.Link { return g.net.Path(a.place, b.place) }

// part cuts two offices off each other for a while: nothing passes, nobody is told.
func (g *globe) part(a, b *town, d time.Duration) { g.path(a, b).Blackout(d) }

// dark lets nothing pass from one office to another for a while; the other way is open.
func (g *globe) dark(from, to *town, d time.Duration) { g.net.BlackoutOneWay(from.place, to.place, d) }

// ends are how far an office is with all others.
type ends struct {
	epoch uint64
	peers map[fed.ClusterID]fed.PeerStatus
}

func (o *town) ends() (e ends, err error) {
	identity, err := o.life().store.FedIdentity()
	if err != nil {
		return e, err
	}
	peers, err := o.life().store.FedPeers()
	e = ends{identity.Epoch, map[fed.ClusterID]fed.PeerStatus{}}
	for _, p := range peers {
		e.peers[p.Cluster] = p
	}
	return e, err
}

// quiet is an error as long as anything waits for anybody, or is not known to have arrived.
func (g *globe) quiet() error {
	all := make([]ends, len(g.towns))
	for i, o := range g.towns {
		var err error
		if all[i], err = o.ends(); err != nil {
			return err
		}
	}
	for i, a := range g.towns {
		for k, b := range g.towns {
			if all[i].peers[b.papers.id].Peer.State != fed.PeerConfirmed || all[k].peers[a.papers.id].Peer.State != fed.PeerConfirmed {
				continue
			}
			if err := a.behind(b, &all[i], &all[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *town) trusts(b *town) bool {
	p := o.peer(b.papers.id)
	return p != nil && p.Peer.State == fed.PeerConfirmed
}

// peer is what the office keeps of a cluster; nil: nothing.
func (o *town) peer(id fed.ClusterID) *fed.PeerStatus {
	e, err := o.ends()
	if err != nil {
		o.globe.Fatal(err)
	}
	if p, known := e.peers[id]; known {
		return &p
	}
	return nil
}

// waitsFor is an error if something of this office has not reached another one.
func (o *town) waitsFor(b *town) error {
	here, err := o.ends()
	if err != nil {
		return err
	}
	there, err := b.ends()
	if err != nil {
		return err
	}
	return o.behind(b, &here, &there)
}

func (o *town) behind(b *town, here, there *ends) error {
	in := map[fed.Lane]fed.LaneStatus{}
	for _, l := range there.peers[o.papers.id].Lanes {
		in[l.Lane] = l
	}
	for _, l := range here.peers[b.papers.id].Lanes {
		switch t := in[l.Lane]; {
		case l.Acked < l.Sent:
			return fmt.Errorf("%s → %s: lane %d is at %d, %d is acknowledged, %d is there", o.name, b.name, l.Lane, l.Sent, l.Acked, t.In)
		case l.Sent > 0 && (t.In != l.Sent || t.EpochIn != here.epoch):
			return fmt.Errorf("%s → %s: lane %d is at %d of epoch %d, there it is at %d of %d", o.name, b.name, l.Lane, l.Sent, here.epoch, t.In, t.EpochIn)
		}
	}
	return nil
}

// settle waits until everything has arrived, and returns how long that took: nothing new is said meanwhile. What takes long is looked at less often.
func (g *globe) settle(within time.Duration) time.Duration {
	g.Helper()
	began := time.Now()
	short := min(within, 20*time.Second)
	for time.Since(began) < short {
		synctest.Wait()
		if g.quiet() == nil {
			return time.Since(began)
		}
		g.pass(250 * time.Millisecond)
	}
	g.until("all caught up", within-short, 2*time.Second, g.quiet)
	return time.Since(began)
}
