package service

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

// sessionStore is a cluster of one log, in which every command is an entry.
type sessionStore struct {
	cluster protocol.Cluster
	users   map[protocol.UserID]*protocol.User
	pc      map[protocol.UserID]protocol.Epoch
	devices map[protocol.DeviceID]protocol.Epoch // of user 1
	index   protocol.Epoch
	broken  error  // what reads of users and epochs answer
	read    func() // called between the reads of users and epochs, once
}

func keys(n byte) (c protocol.Cluster) {
	for i, b := range [][]byte{c.ID[:], c.History[:], c.TokenKey[:], c.AddressKey[:]} {
		copy(b, bytes.Repeat([]byte{n + byte(16*i)}, len(b)))
	}
	return c
}

func newSessionStore() *sessionStore {
	return &sessionStore{
		cluster: keys(1),
		users:   map[protocol.UserID]*protocol.User{1: {ID: 1, Name: "alice"}, 2: {ID: 2, Name: "bob"}},
		pc:      make(map[protocol.UserID]protocol.Epoch), devices: make(map[protocol.DeviceID]protocol.Epoch),
		index: 100,
	}
}

func (s *sessionStore) Cluster() (protocol.Cluster, error) {
	if s.cluster == (protocol.Cluster{}) {
		return s.cluster, notFound()
	}
	return s.cluster, nil
}

func (s *sessionStore) Revoked(u protocol.UserID, d protocol.DeviceID, c protocol.ClientType) (protocol.Epoch, error) {
	user, err := s.UserByID(u)
	e := user.Revoked
	if !c.IsMobile() {
		e = max(e, s.pc[u])
	}
	if d != "" && u == 1 {
		e = max(e, s.devices[d])
	}
	if s.read != nil {
		s.read()
		s.read = nil
	}
	return e, err
}

func (s *sessionStore) UserByID(id protocol.UserID) (protocol.User, error) {
	if s.broken != nil {
		return protocol.User{}, s.broken
	}
	if u := s.users[id]; u != nil {
		return *u, nil
	}
	return protocol.User{}, notFound()
}

func (s *sessionStore) Execute(_ context.Context, cmd protocol.Command) (any, error) {
	c, ok := cmd.(*protocol.RevokeSessions)
	if !ok {
		return nil, errors.New("not a revocation")
	}
	s.index++
	switch c.Scope {
	case protocol.RevokeAll:
		s.users[c.User].Revoked = s.index
	case protocol.RevokePC:
		s.pc[c.User] = s.index
	case protocol.RevokeDevice:
		s.devices[c.Device] = s.index
	}
	return nil, nil
}

func (s *sessionStore) revoke(u protocol.UserID, scope protocol.RevokeScope, d protocol.DeviceID) {
	_, _ = s.Execute(context.Background(), &protocol.RevokeSessions{User: u, Scope: scope, Device: d}) // never fails
}

type clock struct{ now time.Time }

func newSessions(s *sessionStore) (*Sessions, *clock) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	return NewSessions(s, func() time.Time { return c.now }), c
}

var (
	desk  = protocol.Device{User: 1, ID: "desk", Client: protocol.ClientTerminal}
	phone = protocol.Device{User: 1, ID: "phone", Client: protocol.ClientIOS}
)

// claim is what a client says of itself.
func claim(d protocol.Device) protocol.Device { return protocol.Device{ID: d.ID, Client: d.Client} }

func issue(t *testing.T, s *Sessions, d protocol.Device, e protocol.Epoch) []byte {
	t.Helper()
	c, err := s.Issue(d, e)
	if err != nil || c.Expires != 7*24*time.Hour || len(c.Token) > 512 {
		t.Fatalf("%d bytes for %v, %v", len(c.Token), c.Expires, err)
	}
	return c.Token
}

func wantRefusal(t *testing.T, what string, err error, message string) {
	t.Helper()
	wantCode(t, what, err, protocol.CodeUnauthenticated)
	if err != nil && err.Error() != message {
		t.Errorf("%s: %q, want %q", what, err, message)
	}
}

// [TT-SESS-6]
func TestTokenProvesItsSession(t *testing.T) {
	for _, d := range []protocol.Device{desk, phone, {User: 1<<32 - 1, ID: protocol.DeviceID(strings.Repeat("d", protocol.MaxDeviceID)), Client: 255}} {
		store := newSessionStore()
		store.users[d.User] = &protocol.User{ID: d.User}
		s, _ := newSessions(store)
		g, err := s.Check(issue(t, s, d, 77), claim(d))
		if want := (protocol.Grant{Device: d, Epoch: 77, SameHistory: true}); err != nil || g != want {
			t.Errorf("%+v, %v, want %+v", g, err, want)
		}
	}
}

// [TT-SESS-6]
func TestTokenExpires(t *testing.T) {
	s, c := newSessions(newSessionStore())
	first := issue(t, s, desk, 0)
	c.now = c.now.Add(6 * 24 * time.Hour)
	second := issue(t, s, desk, 0)
	for _, b := range [][]byte{first, second} { // rotation ends nothing
		if _, err := s.Check(b, claim(desk)); err != nil {
			t.Error(err)
		}
	}
	c.now = c.now.Add(24*time.Hour - time.Second)
	if _, err := s.Check(first, claim(desk)); err != nil {
		t.Errorf("a second before the end: %v", err)
	}
	c.now = c.now.Add(time.Second)
	_, err := s.Check(first, claim(desk))
	wantRefusal(t, "after 7 days", err, tokenExpired)
	if _, err := s.Check(second, claim(desk)); err != nil {
		t.Errorf("renewed: %v", err)
	}
}

// [TT-SESS-6]
func TestTokenOfAnother(t *testing.T) {
	store := newSessionStore()
	s, _ := newSessions(store)
	good := issue(t, s, desk, 0)
	for what, d := range map[string]protocol.Device{
		"device": {ID: "desk2", Client: desk.Client}, "no device": {Client: desk.Client}, "client": {ID: "desk", Client: protocol.ClientMac},
	} {
		_, err := s.Check(good, d)
		wantRefusal(t, what, err, tokenForeign)
	}
	one := store.cluster
	store.cluster = keys(2)
	_, err := s.Check(good, claim(desk))
	wantRefusal(t, "another cluster", err, tokenForged)
	store.cluster.TokenKey = one.TokenKey
	_, err = s.Check(good, claim(desk))
	wantRefusal(t, "another cluster with the same key", err, tokenForged)
	store.cluster = one
	store.cluster.TokenKey = keys(2).TokenKey
	_, err = s.Check(good, claim(desk))
	wantRefusal(t, "the cluster with another key", err, tokenForged)
	store.cluster = protocol.Cluster{}
	_, err = s.Check(good, claim(desk))
	wantCode(t, "no cluster yet", err, protocol.CodeUnavailable)
	_, err = s.Issue(desk, 0)
	wantCode(t, "no cluster yet", err, protocol.CodeUnavailable)
}

// TestTokenForged changes every bit, and every length. [TT-SESS-6]
func TestTokenForged(t *testing.T) {
	s, _ := newSessions(newSessionStore())
	good := issue(t, s, desk, 5)
	check := func(what string, b []byte) {
		t.Helper()
		_, err := s.Check(b, claim(desk))
		wantRefusal(t, what, err, tokenForged)
	}
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		check("a bit flipped", b)
	}
	for n := range good {
		check("cut", good[:n])
		check("begun later", good[n+1:])
	}
	check("longer", append(bytes.Clone(good), 0))
	check("huge", make([]byte, 1<<20))
	check("nothing", nil)
}

// [TT-SESS-7]
func TestTokenRevoked(t *testing.T) {
	for _, tt := range []struct {
		name        string
		revoke      func(*sessionStore)
		desk, phone string // why they are refused
	}{
		{"nothing", func(*sessionStore) {}, "", ""},
		{"all", func(s *sessionStore) { s.revoke(1, protocol.RevokeAll, "") }, tokenRevoked, tokenRevoked},
		{"PC", func(s *sessionStore) { s.revoke(1, protocol.RevokePC, "") }, tokenRevoked, ""},
		{"phone", func(s *sessionStore) { s.revoke(1, protocol.RevokeDevice, "phone") }, "", tokenRevoked},
		{"another device", func(s *sessionStore) { s.revoke(1, protocol.RevokeDevice, "tablet") }, "", ""},
		{"another user", func(s *sessionStore) { s.revoke(2, protocol.RevokeAll, "") }, "", ""},
		{"out of service", func(s *sessionStore) { s.users[1].Status = protocol.StatusProbation }, tokenRevoked, tokenRevoked},
		{"no such user", func(s *sessionStore) { delete(s.users, 1) }, tokenRevoked, tokenRevoked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newSessionStore()
			s, _ := newSessions(store)
			tokens := [][]byte{issue(t, s, desk, store.index), issue(t, s, phone, store.index)}
			tt.revoke(store)
			for i, d := range []protocol.Device{desk, phone} {
				_, err := s.Check(tokens[i], claim(d))
				if why := []string{tt.desk, tt.phone}[i]; why != "" {
					wantRefusal(t, string(d.ID), err, why)
				} else if err != nil {
					t.Errorf("%s: %v", d.ID, err)
				}
			}
		})
	}
	store := newSessionStore()
	s, _ := newSessions(store)
	good := issue(t, s, desk, 0)
	store.broken = protocol.Errorf(protocol.CodeInternal, "damaged")
	_, err := s.Check(good, claim(desk))
	wantCode(t, "store damaged", err, protocol.CodeInternal)
}

// TestTokenOfAnotherHistory: the session goes on, its cursor means nothing. What was revoked can't be told from the epoch,
// unless it is the very same. [TT-SESS-5] [TT-SESS-6]
func TestTokenOfAnotherHistory(t *testing.T) {
	store := newSessionStore()
	s, _ := newSessions(store)
	store.revoke(1, protocol.RevokePC, "")
	same, later := issue(t, s, desk, store.index), issue(t, s, desk, store.index+50)
	never := issue(t, s, phone, 0)
	store.cluster.History = keys(9).History
	for d, b := range map[protocol.Device][]byte{desk: same, phone: never} {
		if g, err := s.Check(b, claim(d)); err != nil || g.SameHistory {
			t.Errorf("%+v, %v", g, err)
		}
	}
	_, err := s.Check(later, claim(desk))
	wantRefusal(t, "an epoch that this history does not know", err, tokenExpired)
	store.revoke(1, protocol.RevokeAll, "")
	_, err = s.Check(never, claim(phone))
	wantRefusal(t, "revoked", err, tokenRevoked)
}

func TestIssueRefuses(t *testing.T) {
	s, _ := newSessions(newSessionStore())
	for _, d := range []protocol.Device{{User: 1}, {ID: "d"}, {User: 1, ID: protocol.DeviceID(make([]byte, protocol.MaxDeviceID+1))}} {
		_, err := s.Issue(d, 0)
		wantCode(t, "issue", err, protocol.CodeInvalid)
	}
}

// TestEpochOfALogin revokes between the check of the password and what follows. [TT-SESS-7]
func TestEpochOfALogin(t *testing.T) {
	all := func(s *sessionStore) { s.revoke(1, protocol.RevokeAll, "") }
	pc := func(s *sessionStore) { s.revoke(1, protocol.RevokePC, "") }
	device := func(s *sessionStore) { s.revoke(1, protocol.RevokeDevice, "desk") }
	type steps = []func(*sessionStore)
	for _, tt := range []struct {
		name                  string
		before, between, last steps // before the epoch is asked for, while it is, and after
		valid                 bool
	}{
		{"nothing", nil, nil, nil, true},
		{"password before", steps{all}, nil, nil, false},
		{"password while", nil, steps{all}, nil, false},
		{"password after", nil, nil, steps{all}, false},
		{"password, then kicked", steps{all, pc}, nil, nil, false},
		{"password, then logged out", steps{all, device}, nil, nil, false},
		{"kicked before", steps{pc, device}, nil, nil, true}, // this login came after
		{"kicked while", nil, steps{pc}, nil, false},
		{"kicked after", nil, nil, steps{pc}, false},
		{"logged out after", nil, nil, steps{device}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newSessionStore()
			all(store) // long ago
			s, _ := newSessions(store)
			run := func(s steps) {
				for _, step := range s {
					step(store)
				}
			}
			user, err := store.UserByID(1) // as Authenticate does
			if err != nil {
				t.Fatal(err)
			}
			run(tt.before)
			store.read = func() { run(tt.between) }
			epoch, err := s.Epoch(user, desk.ID, desk.Client)
			if err != nil {
				t.Fatal(err)
			}
			run(tt.last)
			if ok, err := s.Valid(desk, epoch); err != nil || ok != tt.valid {
				t.Errorf("valid %v, %v, want %v", ok, err, tt.valid)
			}
			_, err = s.Check(issue(t, s, desk, epoch), claim(desk))
			if (err == nil) != tt.valid {
				t.Errorf("resumed: %v", err)
			}
		})
	}
}

// [TT-SESS-7] [TT-SESS-9]
func TestValidOfLegacyClients(t *testing.T) {
	store := newSessionStore()
	s, _ := newSessions(store)
	pc, mobile := protocol.Device{User: 1, Client: protocol.ClientWindows}, protocol.Device{User: 1, Client: protocol.ClientAndroid}
	valid := func(what string, wantPC, wantMobile bool) {
		t.Helper()
		for d, want := range map[protocol.Device]bool{pc: wantPC, mobile: wantMobile} {
			if ok, err := s.Valid(d, 100); err != nil || ok != want {
				t.Errorf("%s: %v valid %v, %v", what, d.Client, ok, err)
			}
		}
	}
	valid("at first", true, true)
	store.revoke(1, protocol.RevokeDevice, "desk")
	valid("a device logged out", true, true)
	if err := s.Revoke(t.Context(), protocol.RevokeSessions{User: 1, Scope: protocol.RevokePC}); err != nil {
		t.Fatal(err)
	}
	valid("kicked", false, true)
	store.revoke(1, protocol.RevokeAll, "")
	valid("another password", false, false)
	wantCode(t, "nobody's", s.Revoke(t.Context(), protocol.RevokeSessions{Scope: protocol.RevokeAll}), protocol.CodeUnauthenticated)
	store.broken = protocol.Errorf(protocol.CodeInternal, "damaged")
	_, err := s.Valid(pc, 100)
	wantCode(t, "valid", err, protocol.CodeInternal)
	_, err = s.Epoch(protocol.User{ID: 1}, "", protocol.ClientMac)
	wantCode(t, "epoch", err, protocol.CodeInternal)
}

// TestTokensAndRevocations: a token is good exactly until what it was issued for is revoked. [TT-SESS-6] [TT-SESS-7]
func TestTokensAndRevocations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store := newSessionStore()
		s, c := newSessions(store)
		devices := []protocol.Device{desk, phone, {User: 1, ID: "web", Client: protocol.ClientWeb}, {User: 2, ID: "desk", Client: protocol.ClientTerminal}}
		type held struct {
			device  protocol.Device
			token   []byte
			expires time.Time
			revoked bool
		}
		var tokens []*held
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			d := rapid.SampledFrom(devices).Draw(rt, "device")
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0, 1:
				e, err := s.Epoch(*store.users[d.User], d.ID, d.Client)
				if err != nil {
					rt.Fatal(err)
				}
				issued, err := s.Issue(d, e)
				if err != nil {
					rt.Fatal(err)
				}
				tokens = append(tokens, &held{d, issued.Token, c.now.Add(issued.Expires), false})
			case 2:
				scope := protocol.RevokeScope(rapid.IntRange(1, 3).Draw(rt, "scope"))
				if scope == protocol.RevokeDevice && d.User != 1 {
					continue // the store keeps those of user 1
				}
				store.revoke(d.User, scope, d.ID)
				for _, h := range tokens {
					hit := scope == protocol.RevokeAll || scope == protocol.RevokePC && !h.device.Client.IsMobile() || scope == protocol.RevokeDevice && h.device.ID == d.ID
					h.revoked = h.revoked || hit && h.device.User == d.User
				}
			case 3:
				c.now = c.now.Add(time.Duration(rapid.IntRange(0, 4*24).Draw(rt, "hours")) * time.Hour)
			case 4:
				tokens = slices.DeleteFunc(tokens, func(h *held) bool {
					g, err := s.Check(h.token, claim(h.device))
					good := !h.revoked && c.now.Before(h.expires)
					if (err == nil) != good || good && g.Device != h.device {
						rt.Fatalf("%+v: %+v, %v, want good %v", h.device, g, err, good)
					}
					return !good
				})
			}
		}
	})
}

func FuzzOpenToken(f *testing.F) {
	key := keys(1).TokenKey
	sealed := (&token{cluster: keys(1).ID, history: keys(1).History, device: desk, epoch: 7, expires: 8}).seal(key[:])
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-32])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := openToken(b, key[:]); ok && !bytes.Equal(b, sealed) {
			t.Fatalf("a forgery: %x", b)
		}
		said, ok := parseToken(b) // as if the MAC were right
		if !ok {
			return
		}
		again := said.seal(key[:])
		if !bytes.Equal(again[:len(b)], b) {
			t.Fatalf("%x became %x", b, again)
		}
		if got, ok := openToken(again, key[:]); ok != (len(said.device.ID) <= protocol.MaxDeviceID) || ok && got != said {
			t.Fatalf("%+v became %+v, %v", said, got, ok)
		}
	})
}
