package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

// calm waits until all stars follow one leader, vote, and have carried out the same.
func (c *constellation) calm(ctx context.Context) error {
	var why error
	for {
		if why = c.unrest(); why == nil {
			return nil
		}
		if err := pass(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the cluster does not become calm: %w", why)
		}
	}
}

// unrest says why the cluster isn't calm.
func (c *constellation) unrest() error {
	stars := c.members()
	first := stars[0].life()
	for _, s := range stars {
		l := s.life()
		if l == nil {
			return fmt.Errorf("%s is down", s.place)
		}
		engine, lead := l.store.Engine(), first.store.Engine()
		if err := l.store.Ready(); err != nil {
			return fmt.Errorf("%s: %w", s.place, err)
		}
		a, _ := engine.Leader()
		if b, _ := lead.Leader(); a != b {
			return fmt.Errorf("%s follows %v, %s %v", s.place, a, first.star.place, b)
		}
		if x, y := l.store.Applied(), first.store.Applied(); x != y {
			return fmt.Errorf("%s is at %d, %s at %d", s.place, x, first.star.place, y)
		}
		members, err := engine.Members()
		if err != nil {
			return err
		}
		if len(members) != len(stars) {
			return fmt.Errorf("%s knows %d members of %d: %v", s.place, len(members), len(stars), members)
		}
		for _, m := range members {
			if !m.Voter {
				return fmt.Errorf("%s has no vote", m.ID)
			}
		}
	}
	return nil
}

// judgeStates compares what all stars have in their files, row by row.
func (c *constellation) judgeStates() error {
	var first map[string][]byte
	for _, s := range c.members() {
		rows, err := rowsOf(s.life())
		if err != nil {
			return err
		}
		if first == nil {
			first = rows
			continue
		}
		for key, value := range rows {
			if other, ok := first[key]; !ok || !bytes.Equal(value, other) {
				return fmt.Errorf("%s has another row %q than the first star", s.place, key)
			}
		}
		if len(rows) != len(first) {
			return fmt.Errorf("%s has %d rows, the first star %d", s.place, len(rows), len(first))
		}
	}
	return nil
}

// rowsOf are all rows of the state, but for what the engine keeps for itself.
func rowsOf(l *life) (map[string][]byte, error) {
	rows := map[string][]byte{}
	var walk func(path string, b *bbolt.Bucket) error
	walk = func(path string, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			at := path + "/" + string(k)
			if v == nil {
				return walk(at, b.Bucket(k))
			}
			rows[at] = bytes.Clone(v)
			return nil
		})
	}
	err := l.store.Engine().View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if string(name) == "_engine" {
				return nil
			}
			return walk(string(name), b)
		})
	})
	return rows, err
}

// judgeHistories compares what was heard with what every star has.
func (c *constellation) judgeHistories() error {
	for _, s := range c.members() {
		for _, p := range c.people {
			for _, in := range p.with {
				latest, err := s.life().store.LatestMsgID(p.id, in)
				if err != nil {
					return err
				}
				if int(latest) != p.count(in) {
					return fmt.Errorf("%s has %d messages of %s, user%d heard %d", s.place, latest, nameOf(p.id, in), p.id, p.count(in))
				}
			}
		}
	}
	return nil
}

// judgePresence waits until all stars agree on who is online and where, and until that is so; it returns how long that took.
func (c *constellation) judgePresence(ctx context.Context, online []*citizen) (time.Duration, error) {
	began := time.Now()
	for {
		why := c.misplaced(online)
		if why == nil {
			return time.Since(began), nil
		}
		if err := pass(ctx, 50*time.Millisecond); err != nil {
			return 0, fmt.Errorf("presence: %w", why)
		}
	}
}

// goneWithin is after how long nobody shows users as online any more whose node is gone.
const goneWithin = 5 * time.Second

// judgeLoss has a star vanish together with the network of one who was on it, and returns how long the others show him as online.
func (c *constellation) judgeLoss(ctx context.Context, p *citizen, how simnet.Cut) (time.Duration, error) {
	on := p.sdk.Status().Node
	var lost *star
	for _, s := range c.members() {
		c.net.Path(s.place, p.place).Blackout(time.Hour)
		if string(s.id()) == on {
			lost = s
		}
	}
	if lost == nil {
		return 0, fmt.Errorf("user%d is on %q, which is no member", p.id, on)
	}
	p.line.cut()
	c.strike(lost, how)
	began := time.Now()
	for _, s := range c.others(lost) {
		for s.life().bus.Presence().Shown(p.id) {
			if err := pass(ctx, 20*time.Millisecond); err != nil {
				return 0, fmt.Errorf("%s still shows user%d as online", s.place, p.id)
			}
		}
	}
	if took := time.Since(began); took <= goneWithin {
		return took, nil
	}
	return 0, fmt.Errorf("after %s %s had vanished (%v), user%d was shown as online for %v", lost.place, on, how, p.id, time.Since(began))
}

func (c *constellation) misplaced(online []*citizen) error {
	sessions := 0
	for _, s := range c.members() {
		l := s.life()
		sessions += l.gateway.Sessions()
		for _, p := range c.people {
			want := ""
			if slices.Contains(online, p) {
				want = p.sdk.Status().Node
			}
			var got []string
			for _, held := range l.bus.Presence().Sessions(p.id) {
				got = append(got, string(held.Node))
			}
			if strings.Join(got, " ") != want {
				return fmt.Errorf("%s (%s) thinks that user%d is on %q, it is on %q", s.place, s.id(), p.id, got, want)
			}
			if shown := l.bus.Presence().Shown(p.id); shown != (want != "") {
				return fmt.Errorf("%s shows user%d as online: %v", s.place, p.id, shown)
			}
		}
	}
	if sessions != len(online) {
		return fmt.Errorf("%d sessions of %d people", sessions, len(online))
	}
	return nil
}

// sums of what happened to the people.
func (c *constellation) sums() (messages, reconnects, gaps int) {
	for _, p := range c.people {
		for _, outs := range p.said {
			messages += len(outs)
		}
		reconnects += p.sdk.Status().Reconnects
		p.mu.Lock()
		gaps += len(p.gap)
		p.mu.Unlock()
	}
	return messages, reconnects, gaps
}

func groupOfAll() protocol.GroupID { return 1 }
