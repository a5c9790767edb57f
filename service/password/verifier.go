package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// Config of a Verifier. The zero value is usable.
type Config struct {
	Params        Params           // costs of new hashes; zero: DefaultParams
	Concurrency   int              // argon2id computations at the same time; 0: one per core
	MemoryEntries int              // verified passwords remembered; 0: 100,000; below 0: none
	MemoryTTL     time.Duration    // how long each is remembered; 0: 24 hours
	Now           func() time.Time // nil: time.Now
	Registerer    prometheus.Registerer
}

// A Verifier checks and makes stored forms. It is safe for concurrent use.
type Verifier struct {
	params Params
	slots  chan struct{} // one token per running computation
	memory *memory
	decoy  argonHash // what is computed when there is nothing to compare with
	stats  verifierStats
	derive func(secret string, salt []byte, p Params, size uint32) argonHash
}

type verifierStats struct {
	checks  *prometheus.CounterVec
	running prometheus.Gauge
	waiting prometheus.Gauge
}

// NewVerifier makes a Verifier, or says which setting is wrong.
func NewVerifier(c Config) (*Verifier, error) {
	if c.Params == (Params{}) {
		c.Params = DefaultParams()
	}
	if err := c.Params.Validate(); err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	if c.Concurrency <= 0 {
		c.Concurrency = runtime.GOMAXPROCS(0)
	}
	if c.MemoryEntries == 0 {
		c.MemoryEntries = 100_000
	}
	if c.MemoryTTL <= 0 {
		c.MemoryTTL = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	v := &Verifier{
		params: c.Params,
		slots:  make(chan struct{}, c.Concurrency),
		memory: newMemory(c.MemoryEntries, c.MemoryTTL, c.Now),
		decoy:  argonHash{params: c.Params, salt: newSalt(), hash: make([]byte, hashBytes)},
		derive: deriveArgon,
	}
	if err := v.register(c.Registerer); err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	return v, nil
}

func (v *Verifier) register(r prometheus.Registerer) error {
	v.stats = verifierStats{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "teamtalk_password_checks_total", Help: "Passwords checked, by how.",
		}, []string{"how"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "teamtalk_password_argon2_running", Help: "argon2id computations running.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "teamtalk_password_argon2_waiting", Help: "argon2id computations waiting for one of those running.",
		}),
	}
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{v.stats.checks, v.stats.running, v.stats.waiting} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Concurrency is the number of argon2id computations that may run at the same time.
func (v *Verifier) Concurrency() int { return cap(v.slots) }

// Check reports whether what a client sent is the secret of a stored form. Every "no" costs one argon2id computation,
// also where nothing is stored or the stored form is a legacy one, so that time does not tell these apart
// [TT-LOGIN-3]. An error (CodeUnavailable) means that ctx ended before there was an answer.
func (v *Verifier) Check(ctx context.Context, stored, sent string) (bool, error) {
	secret := canonical(sent)
	if l, ok := parseLegacy(stored); ok && l.matches(secret) {
		v.stats.checks.WithLabelValues("legacy").Inc()
		return true, nil
	}
	a, err := parseArgon(stored)
	if err != nil {
		return false, v.spend(ctx, secret)
	}
	p := v.memory.prove(stored, secret)
	if v.memory.holds(p) {
		v.stats.checks.WithLabelValues("memory").Inc()
		return true, nil
	}
	if err := v.acquire(ctx); err != nil {
		return false, err
	}
	defer v.release()
	// Others may have verified the same while this one waited: a storm with few passwords costs few computations.
	if v.memory.holds(p) {
		v.stats.checks.WithLabelValues("memory").Inc()
		return true, nil
	}
	v.stats.checks.WithLabelValues("argon2id").Inc()
	if !v.compare(a, secret) {
		return false, nil
	}
	v.memory.add(p)
	return true, nil
}

// compare computes the hash again and compares in constant time.
func (v *Verifier) compare(a argonHash, secret string) bool {
	size := uint32(len(a.hash)) // at most maxHashBytes
	return subtle.ConstantTimeCompare(v.derive(secret, a.salt, a.params, size).hash, a.hash) == 1
}

// spend costs what a check costs.
func (v *Verifier) spend(ctx context.Context, secret string) error {
	if err := v.acquire(ctx); err != nil {
		return err
	}
	defer v.release()
	v.stats.checks.WithLabelValues("decoy").Inc()
	v.compare(v.decoy, secret)
	return nil
}

// Hash makes the stored form of a secret, with a salt of its own, and remembers the pair. An error (CodeUnavailable)
// means that ctx ended before it was made.
func (v *Verifier) Hash(ctx context.Context, secret string) (string, error) {
	secret = canonical(secret)
	if err := v.acquire(ctx); err != nil {
		return "", err
	}
	defer v.release()
	stored := v.derive(secret, newSalt(), v.params, hashBytes).String()
	v.memory.add(v.memory.prove(stored, secret))
	return stored, nil
}

// Outdated reports whether a stored form should be replaced at the next good login: a legacy one, or one made at lower
// costs than are configured now [TT-LOGIN-11].
func (v *Verifier) Outdated(stored string) bool {
	if strings.HasPrefix(stored, legacyPrefix) {
		return true
	}
	a, err := parseArgon(stored)
	return err == nil && a.params.below(v.params)
}

func (v *Verifier) acquire(ctx context.Context) error {
	v.stats.waiting.Inc()
	defer v.stats.waiting.Dec()
	if err := ctx.Err(); err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "password check: %w", err)
	}
	select {
	case v.slots <- struct{}{}:
		v.stats.running.Inc()
		return nil
	case <-ctx.Done():
		return protocol.Errorf(protocol.CodeUnavailable, "password check: %w", ctx.Err())
	}
}

func (v *Verifier) release() {
	v.stats.running.Dec()
	<-v.slots
}

func newSalt() []byte {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	return salt
}
