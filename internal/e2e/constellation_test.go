package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/client"
	"teamtalk/gateway/transport/tlscert"
	nodeca "teamtalk/internal/peers/authority"
	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/service"
	"teamtalk/service/password"
)

// A constellation is several nodes of a cluster in this process, in one bubble of virtual time, on a network in memory; and the people who talk by it.
type constellation struct {
	t            *testing.T
	net          *simnet.Network
	log          *slog.Logger
	dir          string // in which the stars have theirs
	certificates *tls.Config
	trust        *tls.Config // what clients need
	verifier     *password.Verifier
	tuning       raftstore.Tuning
	founding     *protocol.Cluster // written down by the first star, then nil
	ending       sync.WaitGroup    // lives that are over for others, but whose parts still run
	tally        tally
	people       []*citizen
	replacing    atomic.Bool // a star by another one; one at a time

	mu    sync.Mutex // guards what follows
	stars []*star    // those that are members
	dirs  int
}

// mostStars bounds how many nodes a constellation ever has.
const mostStars = 40

func newConstellation(t *testing.T, tuning raftstore.Tuning, stars, users int) *constellation {
	t.Helper()
	c := &constellation{t: t, dir: memoryDir(t), log: slog.New(slog.DiscardHandler), tuning: tuning,
		net: simnet.NewNetwork(simnet.NewLink(1, simnet.Faults{Delay: 5 * time.Millisecond, Jitter: time.Millisecond}))}
	if os.Getenv("TT_LOG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	var hosts []string
	for n := range mostStars {
		hosts = append(hosts, placeOf(n))
	}
	certs, err := tlscert.NewDevelopment(tlscert.DevelopmentConfig{Dir: t.TempDir(), Hosts: hosts, Log: c.log})
	if err != nil {
		t.Fatal(err)
	}
	c.certificates, c.trust = tlscert.ServerConfig(certs), trustIn(t, certs.CAFile())
	if c.verifier, err = password.NewVerifier(password.Config{Params: password.Params{MemoryKiB: 8, Passes: 1, Lanes: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := c.found(stars); err != nil {
		t.Fatal(err)
	}
	if err := c.populate(users); err != nil {
		t.Fatal(err)
	}
	return c
}

func placeOf(n int) string { return fmt.Sprintf("n%d", n+1) }

// found starts the first star and has the others join it.
func (c *constellation) found(stars int) error {
	var secrets protocol.Cluster
	for _, secret := range [][]byte{secrets.ID[:], secrets.History[:], secrets.TokenKey[:], secrets.AddressKey[:], secrets.JoinKey[:]} {
		if _, err := rand.Read(secret); err != nil {
			return err
		}
	}
	auth, err := nodeca.New(nodeca.ClusterID(secrets.ID), longAgo())
	if err != nil {
		return err
	}
	cert, key, err := auth.PEM()
	if err != nil {
		return err
	}
	secrets.NodeCert, secrets.NodeKey = string(cert), string(key)
	c.founding = &secrets
	first := c.newStar()
	if first.identity, err = auth.Identify("n1", longAgo(), 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := c.begin(ctx, first, ""); err != nil {
		return err
	}
	c.add(first)
	for range stars - 1 {
		if err := c.join(ctx); err != nil {
			return err
		}
	}
	return nil
}

// newStar is one that has no life yet.
func (c *constellation) newStar() *star {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirs++
	return &star{place: placeOf(c.dirs - 1), dir: filepath.Join(c.dir, fmt.Sprint(c.dirs))}
}

func (c *constellation) add(s *star) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stars = append(c.stars, s)
}

// members are the stars that belong to the cluster, up or down.
func (c *constellation) members() []*star {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*star(nil), c.stars...)
}

// join has one more star join by a token of one that is there, and waits until it votes.
func (c *constellation) join(ctx context.Context) error {
	s := c.newStar()
	s.busy.Lock()
	defer s.busy.Unlock()
	for {
		err := c.tryJoin(ctx, s)
		if err == nil {
			break
		}
		c.log.Info("a star could not join", "place", s.place, "error", err)
		if waited := pass(ctx, 500*time.Millisecond); waited != nil {
			return fmt.Errorf("%s can't join: %w", s.place, err)
		}
	}
	c.add(s)
	for {
		members, err := s.life().store.Engine().Members()
		if err != nil {
			return err
		}
		for _, m := range members {
			if m.ID == s.id() && m.Voter {
				return nil
			}
		}
		if err := pass(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s has joined and does not vote: %w", s.place, err)
		}
	}
}

func (c *constellation) tryJoin(ctx context.Context, s *star) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, other := range c.members() {
		l := other.life()
		if l == nil || l.store.Ready() != nil {
			continue
		}
		token, err := l.manager.Load().Token(12 * time.Hour)
		if err != nil {
			return err
		}
		_, err = c.begin(ctx, s, token.Line())
		return err
	}
	return fmt.Errorf("nobody is there to make a token")
}

func (c *constellation) populate(users int) error {
	var all []protocol.User
	for n := range users {
		all = append(all, protocol.User{Name: fmt.Sprintf("user%d", n+1)})
	}
	store := c.stars[0].life().store
	admin := service.NewAdmin(store, store, c.verifier)
	if err := admin.AddDemoUsers(context.Background(), all, worldPassword); err != nil {
		return err
	}
	everybody := make([]protocol.UserID, users)
	for n := range everybody {
		everybody[n] = protocol.UserID(n + 1)
	}
	_, err := admin.CreateGroup(context.Background(), protocol.CreateGroup{Name: "all", Members: everybody})
	return err
}

func (c *constellation) check(err error) {
	if err != nil {
		c.fail("stop: %v", err)
	}
}

// fail may be called from any goroutine.
func (c *constellation) fail(format string, args ...any) { c.t.Errorf(format, args...) }

// stop ends all lives.
func (c *constellation) stop() {
	for _, s := range c.members() {
		if l := s.life(); l != nil {
			c.ending.Go(l.end) // all at once, as none waits for another then
			s.set(nil)
		}
	}
	c.ending.Wait()
}

// pass waits for so long in virtual time.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestConstellation plays schedules of troubles, each from a seed, in virtual time: nodes are killed and come back, are cut off in several ways, are
// replaced, have wrong clocks, while people talk over the SDK, move and lose their networks. In the end everything is there that was acked, once and in
// one order for everybody and on every node, and nobody is shown online who is not [TT-SESS-3] [TT-SESS-4] [TT-SESS-11] [TT-SESS-13].
//
// TT_SEED=n plays one schedule only, TT_SOAK=1 300 of them, TT_LOG=1 shows what the nodes log.
func TestConstellation(t *testing.T) {
	onceOnly(t)
	seeds, first := 20, 1
	switch n := seedFromEnv(t); {
	case n > 0:
		seeds, first = 1, n
	case os.Getenv("TT_SOAK") != "":
		seeds = 300
	case raceDetector:
		seeds = 5
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			synctest.Test(t, func(t *testing.T) { playConstellation(t, uint64(seed)) })
			t.Logf("real time %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// playConstellation plays the schedule of a seed.
func playConstellation(t *testing.T, seed uint64) {
	rng := mathrand.New(mathrand.NewPCG(seed, 3))
	stars, length := 3, time.Minute
	if rng.IntN(4) == 0 {
		stars = 5
	}
	tuning := raftstore.Tuning{}
	if rng.IntN(2) == 0 { // who was away has to be sent the state
		tuning.TrailingLogs, tuning.TrimInterval, tuning.StreamHold = 16, time.Second, time.Second
	}
	plan := schedule(rng, length)
	c := newConstellation(t, tuning, stars, 6)
	defer c.stop()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	err := c.play(ctx, seed, plan)
	messages, reconnects, gaps := c.sums()
	t.Logf("seed %d: %d stars, %d troubles (%s), %d messages, %d reconnects, %d gaps, virtual time %v", seed, stars, len(plan), &c.tally, messages,
		reconnects, gaps, time.Since(began).Round(time.Second))
	if err != nil {
		t.Errorf("TT_SEED=%d: %v", seed, err)
	}
	for _, p := range c.people {
		if err := p.sdk.Close(); !errors.Is(err, client.ErrClosed) {
			c.check(err)
		}
		p.line.dispose()
	}
}

// play has people talk while the plan is carried out, and judges.
func (c *constellation) play(ctx context.Context, seed uint64, plan []trouble) error {
	for id := range protocol.UserID(6) {
		p, err := c.enter(ctx, id+1, groupOfAll())
		if err != nil {
			return err
		}
		c.people = append(c.people, p)
	}
	var stop atomic.Bool
	var talking sync.WaitGroup
	talks := make([]error, len(c.people))
	for i, p := range c.people {
		rng := mathrand.New(mathrand.NewPCG(seed, uint64(100+i)))
		talking.Go(func() { talks[i] = p.talk(ctx, rng, &stop) }) // ends after stop, or with ctx
	}
	err := c.suffer(ctx, plan)
	stop.Store(true)
	talking.Wait()
	if err := errorsFirst(slices.Concat(talks, []error{err})...); err != nil {
		return err
	}
	c.ending.Wait()
	return c.judge(ctx, seed)
}

// calmWithin is how long a cluster that nothing happens to any more may take to be well.
const calmWithin = 2 * time.Minute

func (c *constellation) judge(ctx context.Context, seed uint64) error {
	ctx, cancel := context.WithTimeout(ctx, calmWithin)
	defer cancel()
	healed := time.Now()
	if err := c.calm(ctx); err != nil {
		return err
	}
	calm := time.Since(healed)
	total := map[string]int{}
	for _, p := range c.people {
		for in, outs := range p.said {
			total[nameOf(p.id, in)] += len(outs)
		}
	}
	for _, p := range c.people {
		if err := p.settle(ctx, total); err != nil {
			return err
		}
	}
	settled := time.Since(healed)
	if err := errorsFirst(judgeTalk(c.people), c.calm(ctx), c.judgeStates(), c.judgeHistories()); err != nil {
		return err
	}
	placed, err := c.judgePresence(ctx, c.people)
	if err != nil {
		return err
	}
	left, err := c.judgeLeaving(ctx)
	if err != nil {
		return err
	}
	how := simnet.Silence
	if seed%2 == 0 {
		how = simnet.Reset
	}
	lost, err := c.judgeLoss(ctx, c.people[3], how)
	c.t.Logf("calm after %v, all heard after %v, presence right %v later; %v until those were offline who left, %v until one whose node vanished (%v)",
		calm.Round(time.Millisecond), settled.Round(time.Millisecond), placed.Round(time.Millisecond), left.Round(time.Millisecond), lost.Round(time.Millisecond), how)
	return err
}

// judgeLeaving has half of the people leave.
func (c *constellation) judgeLeaving(ctx context.Context) (time.Duration, error) {
	for _, p := range c.people[:3] {
		if err := p.sdk.Close(); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*goneWithin)
	defer cancel()
	return c.judgePresence(ctx, c.people[3:])
}
