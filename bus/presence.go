package bus

import (
	"sync"

	"teamtalk/protocol"
)

// Presence counts every user's connections by class. All methods may be called from any goroutine.
type Presence struct {
	mu    sync.RWMutex // guards users
	users map[protocol.UserID]classCounts
}

type classCounts struct{ pc, mobile uint16 }

func newPresence() *Presence { return &Presence{users: make(map[protocol.UserID]classCounts)} }

// Joined counts a connection that logged in.
func (p *Presence) Joined(u protocol.UserID, c protocol.ClientType) { p.count(u, c, 1) }

// Left takes back one Joined.
func (p *Presence) Left(u protocol.UserID, c protocol.ClientType) { p.count(u, c, ^uint16(0)) }

func (p *Presence) count(u protocol.UserID, c protocol.ClientType, delta uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.users[u]
	if c.IsMobile() {
		n.mobile += delta
	} else {
		n.pc += delta
	}
	if n == (classCounts{}) {
		delete(p.users, u)
		return
	}
	p.users[u] = n
}

// PCOnline reports whether the user has a connection of the PC class, which is what clients show as online [TT-PRES-1].
func (p *Presence) PCOnline(u protocol.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.users[u].pc > 0
}

// MobileOnline reports whether the user has a connection of the mobile class.
func (p *Presence) MobileOnline(u protocol.UserID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.users[u].mobile > 0
}
