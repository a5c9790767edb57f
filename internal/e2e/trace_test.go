package e2e

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// What was burned or recalled is in no row of the state from that moment on, and in no entry of the log after the time for that, or the next
// start [TT-DEL-3] [TT-DEL-7].
func TestDeletedContentLeavesNoTrace(t *testing.T) {
	t.Parallel()
	const kept, burned, recalled = "kept for ever 4711", "burned 0815 to ashes", "recalled 1234 in time"
	dir := t.TempDir()
	server := New(t, ServerConfig{Dir: dir, Args: []string{"--users", "2", "--password", "123456"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Run(t); err != nil {
		t.Fatal(err)
	}
	author := extended(ctx, t, server, "user1")
	chat := Single(2)
	say(ctx, t, author, chat.TextMessage(kept))
	ashes := chat.TextMessage(burned)
	ashes.BurnAfterReadS = proto.Uint32(1)
	say(ctx, t, author, ashes)
	say(ctx, t, author, chat.TextMessage(recalled))
	deleteMessage(ctx, t, author, 2, 3, 1)

	reader := extended(ctx, t, server, "user2")
	read := &pb.IMMsgDataReadAck{UserId: proto.Uint32(2), SessionId: proto.Uint32(1), MsgId: proto.Uint32(3), SessionType: pb.SessionType_SESSION_TYPE_SINGLE.Enum()}
	if err := reader.Send(ctx, pdu.CmdReadAck, 1, read); err != nil {
		t.Fatal(err)
	}
	gone := &chatpb.Deleted{}
	if _, err := reader.Expect(ctx, pdu.CmdDeleted, gone); err != nil {
		t.Fatal(err)
	}
	if gone.GetMsgId() != 2 || gone.GetByUserId() != 0 || gone.GetKind() != 2 {
		t.Errorf("%v", gone)
	}
	server.Kill() // within the hour that the log has for forgetting
	if found := rows(t, dir, "state-*.db", kept, burned, recalled); !slices.Equal(found, []string{kept}) {
		t.Errorf("in the state after the deletion: %q", found)
	}
	if found := rows(t, dir, "raft.db", burned, recalled); len(found) != 2 {
		t.Errorf("in the log before its time: %q, so this test can't see it leave", found)
	}
	if err := server.Restart(t); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the log to be shortened", func() bool {
		n, err := server.Metrics(ctx, "teamtalk_raftstore_log_entries_to_forget")
		return err == nil && n == 0
	})
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, files := range []string{"raft.db", "state-*.db"} {
		if found := rows(t, dir, files, burned, recalled); len(found) != 0 {
			t.Errorf("%s still has %q", files, found)
		}
	}
	if found := rows(t, dir, "state-*.db", kept); len(found) != 1 {
		t.Error("what was to stay is gone as well")
	}
}

// extended is a session that said HELLO.
func extended(ctx context.Context, t *testing.T, s *Server, name string) *Client {
	t.Helper()
	c, err := Dial(ctx, s.Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Hello(ctx, "device-of-"+name, pb.ClientType(4)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, name, "123456", pb.ClientType(4)); err != nil {
		t.Fatal(err)
	}
	return c
}

func say(ctx context.Context, t *testing.T, c *Client, m *pb.IMMsgData) {
	t.Helper()
	if err := c.Send(ctx, pdu.CmdMsgData, 7, m); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(ctx, pdu.CmdMsgDataAck); err != nil {
		t.Fatal(err)
	}
}

func deleteMessage(ctx context.Context, t *testing.T, c *Client, with, id, kind uint32) {
	t.Helper()
	if err := c.Send(ctx, pdu.CmdDeleteReq, 8, &chatpb.DeleteReq{SessionType: 1, SessionId: with, MsgId: id, Kind: kind}); err != nil {
		t.Fatal(err)
	}
	rsp := &chatpb.DeleteRsp{}
	if _, err := c.Expect(ctx, pdu.CmdDeleteRsp, rsp); err != nil {
		t.Fatal(err)
	}
	if rsp.GetCode() != 0 {
		t.Fatalf("not deleted: %v", rsp)
	}
}

// rows returns which of the texts are in a key or row of the databases, which nobody may have open.
func rows(t *testing.T, dir, files string, texts ...string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, files))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s in %s: %v", files, dir, err)
	}
	for _, path := range paths {
		if err := eachRow(path, func(key, row []byte) {
			for _, text := range texts {
				if (bytes.Contains(row, []byte(text)) || bytes.Contains(key, []byte(text))) && !slices.Contains(found, text) {
					found = append(found, text)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func eachRow(path string, fn func(key, row []byte)) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error { fn(k, v); return nil })
		})
	})
}
