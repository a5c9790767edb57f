package federation

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Trace is what is known of a message, by the node that leads. It is named by an event id (as in logs: 1234.0@ and the id of a cluster), or by its conversation and
// msg_id as this cluster has them: u17-1073741825/42 is message 42 between users 17 and 1073741825, g5/42 is message 42 of group 5.
func (m *Manager) Trace(ctx context.Context, message string) (v TraceView, err error) {
	err = m.onLeader(ctx, opTrace, traceCall{message}, &v)
	return v, err
}

func (m *Manager) trace(message string) (TraceView, error) {
	t, err := m.find(strings.TrimSpace(message))
	if err != nil {
		return TraceView{}, err
	}
	v := TraceView{Event: t.Event.String(), Conversation: conversationName(t.Conversation), Message: uint32(t.ID), Author: uint32(t.From), Time: t.Time.Std(),
		State: "local", HubSeq: t.Fate.HubSeq, Deleted: t.Deleted}
	switch {
	case !t.Fate.Event.IsZero():
		v.State = "received"
	case t.Fate != (fed.Fate{}) || len(t.Steps) > 0:
		v.State = stateName(t.Fate.State)
	}
	if v.Origin, err = m.domainOfCluster(t.Event.Cluster); err != nil {
		return v, err
	}
	for _, s := range t.Steps {
		step := TraceStep{Lane: s.Lane, Sequence: s.Sequence, State: m.stepState(&s)}
		if step.Peer, err = m.domainOfCluster(s.Peer); err != nil {
			return v, err
		}
		v.Steps = append(v.Steps, step)
	}
	return v, nil
}

// find looks a message up by what Trace takes.
func (m *Manager) find(message string) (fed.Trace, error) {
	if strings.Contains(message, "@") {
		e, err := fed.ParseEventID(message)
		if err != nil {
			return fed.Trace{}, err
		}
		return m.cfg.State.TraceEvent(e)
	}
	c, id, ok := parseMessage(message)
	if !ok {
		return fed.Trace{}, protocol.Errorf(protocol.CodeInvalid,
			"%q names no message: u17-1073741825/42 is message 42 between users 17 and 1073741825, g5/42 is message 42 of group 5, and an event id of a log is taken, too", message)
	}
	return m.cfg.State.TraceMessage(c, id)
}

// parseMessage reads "u1-2/3" and "g1/3".
func parseMessage(s string) (c protocol.Conversation, id protocol.MsgID, ok bool) {
	where, number, found := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !found || err != nil || n == 0 || where == "" {
		return c, 0, false
	}
	ids := strings.Split(where[1:], "-")
	var parts []uint32
	for _, part := range ids {
		p, err := strconv.ParseUint(part, 10, 32)
		if err != nil || p == 0 {
			return c, 0, false
		}
		parts = append(parts, uint32(p))
	}
	switch {
	case where[0] == 'u' && len(parts) == 2 && parts[0] != parts[1]:
		return protocol.WithUser(protocol.UserID(parts[1])).Conversation(protocol.UserID(parts[0])), protocol.MsgID(n), true
	case where[0] == 'g' && len(parts) == 1:
		return protocol.InGroup(protocol.GroupID(parts[0])).Conversation(0), protocol.MsgID(n), true
	}
	return c, 0, false
}

func conversationName(c protocol.Conversation) string {
	if c.Type == protocol.SessionGroup {
		return fmt.Sprintf("g%d", c.A)
	}
	return fmt.Sprintf("u%d-%d", c.A, c.B)
}

func stateName(s fed.MessageState) string {
	names := [...]string{"sent", "pending", "delayed", "delivered", "undeliverable"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// stepState tells what was sent on the link that stands now, and is not acknowledged, from what waits.
func (m *Manager) stepState(s *fed.TraceStep) string {
	switch {
	case s.Acked:
		return "acknowledged"
	case s.Gone:
		return "given up"
	}
	if l := m.linkOf(s.Peer); l != nil && l.wasSent(s.Lane, s.Sequence) {
		return "sent"
	}
	return "waiting"
}

// wasSent reports whether an event went out over this link.
func (l *link) wasSent(lane fed.Lane, sequence uint64) bool {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return lane.Durable() && sequence < l.out.lanes[lane].next
}

// domainOfCluster is what people call a cluster, this one or another; its id if it was never heard of.
func (m *Manager) domainOfCluster(c fed.ClusterID) (string, error) {
	if _, own, err := m.identity(); err == nil && own.Cluster == c {
		return own.Domain, nil
	}
	p, err := m.peerByID(c)
	if err != nil {
		return "", err
	}
	if p == nil {
		return c.String(), nil
	}
	return domainOf(p), nil
}
