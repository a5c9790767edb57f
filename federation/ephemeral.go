package federation

import (
	"context"
	"time"
	"unicode/utf8"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	signalsSecond = 20       // of a user [FED-EPH-2]
	mostSignal    = 16 << 10 // bytes of a signal
	signalP2P     = uint8(1) // fed.Signal.Kind: a P2P command, typing too
)

// readSignals passes on what is for people abroad, and notes who of this cluster came or went. It ends with ctx.
func (m *Manager) readSignals(ctx context.Context) {
	for {
		signals, err := m.cfg.Signals.Next(ctx)
		if err != nil {
			return // closed, or ctx ended
		}
		for _, s := range signals {
			switch s := s.(type) {
			case protocol.PresenceChanged:
				if s.User < protocol.MaxLocalID {
					for _, a := range m.attending() {
						a.noteMoved(s.User)
					}
				}
			case protocol.P2PSent:
				if s.To >= protocol.MaxLocalID && s.From < protocol.MaxLocalID {
					m.passOn(s)
				}
			}
		}
	}
}

func (a *attendant) noteMoved(u protocol.UserID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, is := a.wanted[u]; is {
		a.moved[u] = struct{}{}
	}
}

// passOn sends a signal to somebody abroad, if his cluster can be reached now [FED-EPH-2].
func (m *Manager) passOn(s protocol.P2PSent) {
	if !m.leads() {
		return // the node that does has it, too
	}
	to, err := m.cfg.State.UserAbroad(s.To)
	if err != nil {
		m.ops.dropped.add(dropUnknown)
		return
	}
	l := m.linkOf(to.Cluster)
	if l == nil {
		m.ops.dropped.add(dropNoLink)
		return
	}
	m.ops.mu.Lock()
	may := m.ops.rate.allow(time.Now(), s.From, signalsSecond)
	a := m.ops.attendants[l]
	m.ops.mu.Unlock()
	switch {
	case a == nil:
		m.ops.dropped.add(dropNoLink)
	case !a.rules.out.Has(fed.AllowDirect):
		m.ops.dropped.add(dropPolicy)
	case !may || len(s.Data) > mostSignal:
		m.ops.dropped.add(dropRate)
	case !a.put(outgoing{signal: &fed.Signal{From: s.From, To: to.ID, Kind: signalP2P, Data: []byte(s.Data)}}):
		m.ops.dropped.add(dropFull)
	}
}

// signalled passes signals of the peer's people on to people here.
func (a *attendant) signalled(signals []fed.Signal) error {
	if a.m.cfg.Signaler == nil {
		return nil
	}
	for i := range signals {
		s := &signals[i]
		why := drop(-1)
		switch {
		case !a.rules.in.Has(fed.AllowDirect):
			why = dropPolicy
		case s.Kind != signalP2P || s.To == 0 || s.To >= protocol.MaxLocalID:
			why = dropUnknown
		case len(s.Data) > mostSignal || !utf8.Valid(s.Data) || !a.rates.signals.allow(time.Now(), s.From, signalsSecond):
			why = dropRate
		}
		if why < 0 {
			from, err := a.m.cfg.State.AliasOf(fed.UserRef{Cluster: a.peer, ID: s.From})
			if err != nil {
				return err
			}
			if from != 0 {
				a.m.cfg.Signaler.Signal(protocol.P2PSent{From: from, To: s.To, Data: string(s.Data)})
				continue
			}
			why = dropUnknown
		}
		a.m.ops.dropped.add(why)
	}
	return nil
}
