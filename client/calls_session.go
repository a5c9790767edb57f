package client

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// RemoveSession takes a conversation from the user's list and marks it read; it comes back with its next message.
func (c *Client) RemoveSession(ctx context.Context, in protocol.Session) error {
	resp, _, err := ask[*pb.IMRemoveSessionRsp](ctx, c, pdu.CmdRemoveSessionReq, pdu.CmdRemoveSessionRes, &pb.IMRemoveSessionReq{
		UserId: c.meWire(), SessionType: sessionType(in), SessionId: proto.Uint32(in.ID),
	}, false)
	if err != nil {
		return err
	}
	return refusedBy("conversation", resp.GetResultCode())
}

// KickPC ends this user's sessions of the PC class; for clients of the mobile class.
func (c *Client) KickPC(ctx context.Context) error {
	resp, _, err := ask[*pb.IMKickPCClientRsp](ctx, c, pdu.CmdKickPCReq, pdu.CmdKickPCRes, &pb.IMKickPCClientReq{UserId: c.meWire()}, true)
	if err != nil {
		return err
	}
	return refusedBy("kick", resp.GetResultCode())
}

// Logout ends the session for good: its token is revoked, the storage forgets all but the device id, and what was not sent fails. It waits for a
// connection as long as ctx says; without one nothing changes. The client is closed when it returns nil.
func (c *Client) Logout(ctx context.Context) error {
	r := &request{command: pdu.CmdLogoutReq, answer: pdu.CmdLogoutRes, body: &pb.IMLogoutReq{}, then: func(m proto.Message, err error) {
		// The server ends the connection behind its answer; if that was lost, so is the session. With a refusal it goes on.
		if err == nil && loggedOut(m) == nil || errors.Is(err, ErrInterrupted) {
			c.stop(ErrLoggedOut)
		}
	}}
	switch err := c.engine.requests.do(ctx, r); {
	case err == nil:
		if err := loggedOut(r.resp); err != nil {
			return err
		}
	case !errors.Is(err, ErrInterrupted):
		return err
	}
	<-c.done
	c.engine.keeper.forget()
	return c.Close()
}

// loggedOut is what 0x0106 says; an error: the token is still good, as when the cluster has no leader [TT-SESS-7].
func loggedOut(m proto.Message) error {
	answer, _ := m.(*pb.IMLogoutRsp)
	return refusedBy("logout", answer.GetResultCode())
}

// forget keeps nothing but the device id.
func (k *keeper) forget() {
	k.with(func(s *Saved) { *s = Saved{Device: s.Device} })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.handed.reset()
}
