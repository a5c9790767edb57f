package terminal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
)

// Errors that a person can do something about.
var (
	ErrNotLoggedIn = errors.New("not logged in: teamtalk login --server ADDRESS USER")
	ErrSessionOver = errors.New("the session has ended: teamtalk login again")
	ErrWrong       = errors.New("login refused: wrong user name or password")
)

// Access is what a session needs.
type Access struct {
	Account
	Password string // empty: only what the profile holds
	Version  string // of this program
	Log      *slog.Logger
	// Waiting is told several times a second how it stands while somebody waits to be online, and nil when that is over; nil: nobody is told.
	Waiting func(*client.Status)
}

// Trust is the base of TLS connections: the system's authorities, and those in a file if one is named.
func Trust(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is the SDK's word for the system's authorities
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without authorities
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca: %s holds no certificate", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

func (a Access) config() (client.Config, error) {
	cfg := client.Config{Addresses: a.Servers, Media: client.MediaConfig{HTTP: a.HTTP}, Program: "teamtalk", Version: a.Version, AllowPlain: a.AllowPlain, Log: a.Log}
	if a.Password != "" {
		cfg.Name, cfg.Password = a.User, a.Password
	}
	switch a.Legacy {
	case "", "off":
	case "fallback":
		cfg.Legacy = client.LegacyFallback
	case "only":
		cfg.Legacy = client.LegacyOnly
	default:
		return cfg, fmt.Errorf("--legacy: %q is not off, fallback or only", a.Legacy)
	}
	var err error
	cfg.TLS, err = Trust(a.CA)
	return cfg, err
}

// Entry tells how a login went.
type Entry struct {
	Route dial.Route
	Node  string        // the server's name for itself; empty: a legacy server
	Took  time.Duration // connecting included
	Kept  bool          // there is a session to resume; legacy servers have none
}

// Login logs in and keeps in the profile how to come back. When the password is refused the profile stays as it is.
func (p Profile) Login(ctx context.Context, a Access) (Entry, error) {
	first, err := p.enter(ctx, ForCommands, a)
	for _, u := range []Use{ForTail, ForChat} {
		if err == nil && first.Kept {
			_, err = p.enter(ctx, u, a)
		}
	}
	if err != nil {
		return first, err
	}
	return first, p.keep(a.Account)
}

func (p Profile) enter(ctx context.Context, u Use, a Access) (Entry, error) {
	unlock, err := p.lock(ctx, u)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	file, err := p.storage(u)
	if err != nil {
		return Entry{}, err
	}
	saved, err := file.Load()
	if err != nil {
		return Entry{}, err
	}
	if saved.Name != "" && saved.Name != a.User {
		return Entry{}, fmt.Errorf("this profile is %s's: teamtalk logout first, or use another --profile", saved.Name)
	}
	saved.Token = nil // the password is to be checked; the device and what waits to be sent stay
	var draft client.MemoryStorage
	if err := draft.Save(saved); err != nil {
		return Entry{}, err
	}
	cfg, err := a.config()
	if err != nil {
		return Entry{}, err
	}
	cfg.Storage = &draft
	began := time.Now()
	c, err := a.online(ctx, cfg)
	if err != nil {
		return Entry{}, explain(err, a)
	}
	now, took := c.Status(), time.Since(began)
	if err := c.Close(); err != nil {
		return Entry{}, err
	}
	if saved, err = draft.Load(); err != nil {
		return Entry{}, err
	}
	return Entry{Route: now.Route, Node: now.Node, Took: took, Kept: len(saved.Token) > 0}, file.Save(saved)
}

// Session is a client of a profile.
type Session struct {
	*client.Client

	names  names
	more   more
	unlock func()
}

// Open resumes a session of the profile, or logs in with the password if there is none. For commands it waits to be online, and
// drops what happens meanwhile, which the tail's session tells; for a tail or a chat events are the caller's to read.
func (p Profile) Open(ctx context.Context, u Use, a Access) (*Session, error) {
	if len(a.Servers) == 0 || a.User == "" {
		return nil, ErrNotLoggedIn
	}
	unlock, err := p.lock(ctx, u)
	if err != nil {
		return nil, err
	}
	s := &Session{unlock: unlock}
	if err := s.open(ctx, p, u, a); err != nil {
		unlock()
		return nil, err
	}
	return s, nil
}

func (s *Session) open(ctx context.Context, p Profile, u Use, a Access) error {
	storage, err := p.storage(u)
	if err != nil {
		return err
	}
	saved, err := storage.Load()
	switch {
	case err != nil:
		return err
	case len(saved.Token) == 0 && a.Password == "" && saved.Name == "":
		return ErrNotLoggedIn
	case len(saved.Token) == 0 && a.Password == "":
		return ErrSessionOver
	case saved.Name != "" && saved.Name != a.User:
		return fmt.Errorf("this profile is %s's: teamtalk logout first, or use another --profile", saved.Name)
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	cfg.Storage = storage
	if u == ForCommands {
		cfg.OnEvent = s.more.collect
	}
	open := a.online
	if u.follows() && len(saved.Token) > 0 {
		open = client.Open // at once
	}
	if s.Client, err = open(ctx, cfg); err != nil {
		return explain(err, a)
	}
	return nil
}

// online opens a client and waits until it is online.
func (a Access) online(ctx context.Context, cfg client.Config) (*client.Client, error) {
	c, err := client.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var telling sync.WaitGroup
	over := make(chan struct{})
	if a.Waiting != nil {
		telling.Go(func() { a.tell(c, over) }) // ends with over
	}
	err = c.WaitOnline(ctx)
	close(over)
	telling.Wait()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// tellEvery is how often those who wait look at how it stands.
const tellEvery = 200 * time.Millisecond

func (a Access) tell(c *client.Client, over <-chan struct{}) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := c.Status()
			a.Waiting(&now)
		case <-over:
			a.Waiting(nil)
			return
		}
	}
}

// Close ends the connection; the session can be resumed.
func (s *Session) Close() error {
	defer s.unlock()
	return s.Client.Close()
}

// Logout ends a session of the profile on the server and forgets it.
func (p Profile) Logout(ctx context.Context, a Access) error {
	for _, u := range []Use{ForChat, ForTail, ForCommands} {
		if err := p.leave(ctx, u, a); err != nil {
			return err
		}
	}
	return os.Remove(p.account())
}

func (p Profile) leave(ctx context.Context, u Use, a Access) error {
	s, err := p.Open(ctx, u, a)
	if err == nil {
		var reading sync.WaitGroup
		if u.follows() {
			reading.Go(func() { // ends with the client: what lies in between must not keep the answer away
				for range s.Events() {
					continue
				}
			})
		}
		err = explain(s.Client.Logout(ctx), a)
		err = errors.Join(err, s.endUnless(err))
		reading.Wait()
		s.unlock()
	}
	if errors.Is(err, ErrNotLoggedIn) || errors.Is(err, ErrSessionOver) {
		err = nil // which is what was asked for
	}
	if err != nil {
		return err
	}
	if err := os.Remove(p.session(u)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// endUnless closes a client that is still logged in.
func (s *Session) endUnless(err error) error {
	if err == nil {
		return nil
	}
	return s.Client.Close()
}

// explain puts errors of the SDK into a person's words.
func explain(err error, a Access) error {
	switch {
	case errors.Is(err, client.ErrCredentials) && a.Password == "":
		return ErrSessionOver
	case errors.Is(err, client.ErrCredentials):
		return ErrWrong
	case errors.Is(err, client.ErrOtherUser):
		return errors.New("this profile is another user's: teamtalk logout first, or use another --profile")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no connection in time; teamtalk doctor says why: %w", err)
	}
	return err
}

// more keeps the rests of lists that were too large for one answer.
type more struct {
	mu   sync.Mutex // guards rest
	rest client.More
}

func (m *more) collect(_ *client.Client, ev client.Event) {
	part, ok := ev.(*client.More)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rest.Users = append(m.rest.Users, part.Users...)
	m.rest.Unread = append(m.rest.Unread, part.Unread...)
	m.rest.Groups = append(m.rest.Groups, part.Groups...)
}

// rests waits until what the server had to say to the calls before has been taken, and returns the rests. The answer to one more call
// comes behind all of it.
func (s *Session) rests(ctx context.Context) (client.More, error) {
	if _, err := s.Users(ctx, s.Me()); err != nil {
		return client.More{}, err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 3; { // an event that was taken from the queue is handed over within a tick
		if quiet++; s.Status().Events > 0 {
			quiet = 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return client.More{}, ctx.Err()
		}
	}
	s.more.mu.Lock()
	defer s.more.mu.Unlock()
	rest := s.more.rest
	s.more.rest = client.More{}
	return rest, nil
}
