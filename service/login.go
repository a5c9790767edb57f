package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
	"teamtalk/service/password"
)

// AccountStore is what Accounts needs of the store.
type AccountStore interface {
	Executor
	// Login finds a user by login name, with the stored form of the password.
	Login(name string) (user protocol.User, stored string, err error)
}

// AccountsConfig configures Accounts; Store and Verifier are needed.
type AccountsConfig struct {
	Store           AccountStore
	Verifier        *password.Verifier
	Log             *slog.Logger          // nil: none
	Registerer      prometheus.Registerer // nil: none
	Now             func() time.Time      // nil: time.Now
	NameFailures    int                   // failures of one name from one address within the window before it is refused; 0: 10
	AddressFailures int                   // the same for one address over all names; 0: 1,000, since whole offices share one
	FailureWindow   time.Duration         // 0: 30 minutes
}

// Accounts decides who may log in.
type Accounts struct {
	store     AccountStore
	verifier  *password.Verifier
	log       *slog.Logger
	throttle  *throttle
	logins    *prometheus.CounterVec
	rewrapped *prometheus.CounterVec
}

// What a user reads who is not let in. COMPAT: the words of the legacy server; iOS shows nothing without any.
const (
	wrongPassword   = "用户名/密码错误"
	tooManyFailures = "用户名/密码错误次数太多"
)

// rewrapTimeout bounds how long a good login with a legacy password, and those that queue behind it, wait for it to be replaced; the next one tries
// again.
const rewrapTimeout = time.Second

// NewAccounts makes the login rules, or says what is missing.
func NewAccounts(c AccountsConfig) (*Accounts, error) {
	if c.Store == nil || c.Verifier == nil {
		return nil, errors.New("accounts: store and verifier are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NameFailures <= 0 {
		c.NameFailures = 10
	}
	if c.AddressFailures <= 0 {
		c.AddressFailures = 1000
	}
	if c.FailureWindow <= 0 {
		c.FailureWindow = 30 * time.Minute
	}
	a := &Accounts{
		store: c.Store, verifier: c.Verifier, log: c.Log,
		throttle: newThrottle(c.NameFailures, c.AddressFailures, c.FailureWindow, c.Now),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "teamtalk_authentications_total", Help: "Logins decided, by result: accepted, wrong, throttled, undecided.",
		}, []string{"result"}),
		rewrapped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "teamtalk_passwords_rewrapped_total", Help: "Legacy password hashes to be replaced at a login, by result: done, failed.",
		}, []string{"result"}),
	}
	if c.Registerer != nil {
		for _, m := range []prometheus.Collector{a.logins, a.rewrapped} {
			if err := c.Registerer.Register(m); err != nil {
				return nil, fmt.Errorf("accounts: register metrics: %w", err)
			}
		}
	}
	return a, nil
}

// Authenticate decides a login with what a client sent as name and password, from addr. The errors' messages are meant
// for the user: CodeUnauthenticated for a wrong password, an unknown name and a user not in service, which nobody can
// tell apart [TT-LOGIN-3]; CodeRateLimited after too many failures [TT-LOGIN-6]. Others mean that it could not be decided
// [TT-LOGIN-12]. The user is as he was when the password was his, Revoked too: what ends his sessions later is seen by
// comparing [TT-SESS-7].
func (a *Accounts) Authenticate(ctx context.Context, name, sent string, addr netip.Addr) (protocol.User, error) {
	try, ok := a.throttle.admit(name, addr)
	if !ok {
		a.logins.WithLabelValues("throttled").Inc()
		return protocol.User{}, protocol.Errorf(protocol.CodeRateLimited, tooManyFailures)
	}
	user, stored, ok, err := a.verify(ctx, name, sent)
	switch {
	case err != nil:
		try.undecided()
		a.logins.WithLabelValues("undecided").Inc()
		return protocol.User{}, wrap("log in", err)
	case !ok:
		try.failed()
		a.logins.WithLabelValues("wrong").Inc()
		return protocol.User{}, protocol.Errorf(protocol.CodeUnauthenticated, wrongPassword)
	}
	try.succeeded()
	a.logins.WithLabelValues("accepted").Inc()
	if a.verifier.Outdated(stored) {
		a.rewrap(ctx, user.ID, stored, sent)
	}
	return user, nil
}

// Throttled is the CodeRateLimited error that Authenticate would return now, nil if it would try. It counts as no attempt, and no password is checked
// [TT-LOGIN-6].
func (a *Accounts) Throttled(name string, addr netip.Addr) error {
	if !a.throttle.blocks(name, addr) {
		return nil
	}
	a.logins.WithLabelValues("throttled").Inc()
	return protocol.Errorf(protocol.CodeRateLimited, tooManyFailures)
}

// verifyRounds is how often a password may be set while it is being checked.
const verifyRounds = 3

// verify finds the user and checks the password. A check may have waited for seconds: whoever was disabled or got another
// password meanwhile must not get in with what was true before. The user returned is of the read that found the very
// password that was checked.
func (a *Accounts) verify(ctx context.Context, name, sent string) (user protocol.User, stored string, ok bool, err error) {
	user, stored, err = a.lookUp(name)
	for range verifyRounds {
		if err == nil {
			ok, err = a.verifier.Check(ctx, stored, sent)
		}
		if err != nil || !ok {
			return user, stored, false, err
		}
		before := stored
		if user, stored, err = a.lookUp(name); err == nil && stored == before {
			return user, stored, true, nil
		}
	}
	return user, stored, false, protocol.Errorf(protocol.CodeUnavailable, "the password changes all the time")
}

// lookUp finds who is meant, by exactly that name [TT-DIFF-3], and nothing to compare with for those who cannot log in:
// they cost the same as the others.
func (a *Accounts) lookUp(name string) (protocol.User, string, error) {
	user, stored, err := a.store.Login(name)
	switch {
	case protocol.CodeOf(err) == protocol.CodeNotFound:
		return protocol.User{}, "", nil
	case err != nil:
		return protocol.User{}, "", err
	case user.Status != protocol.StatusActive:
		return protocol.User{}, "", nil
	}
	return user, stored, nil
}

// rewrap replaces a stored form that is a legacy one or too cheap, unless it was changed meanwhile [TT-LOGIN-11]. A
// failure is no reason to refuse a login.
func (a *Accounts) rewrap(ctx context.Context, user protocol.UserID, stored, sent string) {
	ctx, cancel := context.WithTimeout(ctx, rewrapTimeout)
	defer cancel()
	hash, err := a.verifier.Hash(ctx, sent)
	if err == nil {
		_, err = a.store.Execute(ctx, &protocol.SetPassword{User: user, Hash: hash, If: stored})
	}
	if err != nil {
		a.rewrapped.WithLabelValues("failed").Inc()
		a.log.Warn("password hash not replaced at login", "user", user, "err", err)
		return
	}
	a.rewrapped.WithLabelValues("done").Inc()
	a.log.Info("password hash replaced at login", "user", user)
}
