package client_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// FuzzInbound gives a client whatever a server may send, in place of WELCOME and once it is online: it does not panic, and it ends when told to.
func FuzzInbound(f *testing.F) {
	for _, seed := range []struct {
		cmd pdu.Command
		seq uint16
		m   proto.Message
	}{
		{pdu.CmdWelcome, 0, &sessionpb.Welcome{Verdict: sessionpb.Verdict_GAP}},
		{pdu.CmdWelcome, 0, &sessionpb.Welcome{Verdict: 9, HeartbeatS: 1}},
		{pdu.CmdCursor, 0, &sessionpb.Cursor{Cursor: 1 << 60}},
		{pdu.CmdCredential, 0, &sessionpb.Credential{}},
		{pdu.CmdDrain, 0, &sessionpb.Drain{WithinS: 1 << 31, Endpoints: []string{"x"}}},
		{pdu.CmdError, 0, &sessionpb.Error{Seq: 3, Code: 77}},
		{pdu.CmdBye, 0, &sessionpb.Bye{Code: 99}},
		{pdu.CmdMark, 0, &chatpb.Mark{SessionType: 300}},
		{pdu.CmdState, 0, &chatpb.State{SessionType: 300, MsgId: 1, State: 1 << 31, HubSeq: 1 << 63}},
		{pdu.CmdSearchRsp, 3, &pb.IMUsersInfoRsp{UserId: u32(1)}},
		{pdu.CmdMsgData, 1, &pb.IMMsgData{
			FromUserId: u32(1), ToSessionId: u32(7), MsgId: u32(1), CreateTime: u32(1), MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: []byte("x"),
		}},
		{pdu.CmdMsgDataAck, 3, &pb.IMMsgDataAck{
			UserId: u32(1), SessionId: u32(1), MsgId: u32(1), SessionType: pb.SessionType_SESSION_TYPE_GROUP.Enum(), ClientMsgId: []byte{1},
		}},
		{pdu.CmdUsersStatusRes, 0, &pb.IMUsersStatRsp{UserId: u32(1)}},
	} {
		frame, err := pdu.Append(nil, seed.cmd, seed.seq, seed.m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, true)
		f.Add(frame, false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, early bool) {
		synctest.Test(t, func(t *testing.T) { fuzzOnce(t, stream, early) })
	})
}

func fuzzOnce(t *testing.T, stream []byte, early bool) {
	r := newRig(t)
	r.cfg.Storage = &client.MemoryStorage{}
	pour := func(c *fakeConn) {
		from := pdu.NewReader(bytes.NewReader(stream))
		for {
			p, err := from.Read(pdu.MaxLen)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.down = append(c.down, p)
			c.mu.Unlock()
			c.poke()
		}
	}
	if early {
		poured := false
		r.server.hook = func(c *fakeConn, p pdu.PDU) bool {
			if poured || p.Header.Command != pdu.CmdHello {
				return false
			}
			poured = true
			pour(c)
			return true
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c, err := client.Open(ctx, r.cfg)
	if err != nil {
		return // the server said something final
	}
	go func() { // until the client is closed
		for range c.Events() {
		}
	}()
	// Both may fail, for the client may have been told to stop.
	_, _ = c.Send(ctx, inAlice(), client.Text("x"))
	_ = c.MarkRead(ctx, inAlice(), 1)
	if conn := r.server.current(); conn != nil && !early {
		pour(conn)
	}
	<-time.After(time.Minute)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
