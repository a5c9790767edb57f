//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/client"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// offlineWithin is three times what is promised for the users of a node that has died.
const offlineWithin = 15 * time.Second

// TestPresenceOverNodes: who is online on one node is so on all, one at a time of a user's PC clients stays in the whole cluster, and the users of a node
// that dies are offline within 5 s.
func TestPresenceOverNodes(t *testing.T) {
	together(t)
	c := StartCluster(t, 3, ClusterConfig{Args: quickPasswords()})
	a, b := c.Followers(t)[0], c.Leader(t)
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	watcher := logIn(t, ctx, b.Server, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS)
	g := c.enter(ctx, t, 3, 2, protocol.WithUser(1), client.Config{})
	watched, err := g.sdk.Presence(ctx, 1)
	if err != nil || len(watched.Items) != 1 || watched.Items[0].Online {
		t.Fatalf("user1 before his login: %+v, %v", watched, err)
	}
	told := func(online bool) { // the SDK, of user1
		t.Helper()
		if err := g.until(ctx, "news of user1", func() bool { return g.online[1] == online }); err != nil {
			t.Fatalf("the SDK was not told that user1's presence is %t: %v", online, err)
		}
	}

	first := logIn(t, ctx, a.Server, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS)
	t.Logf("on the other node as online after %s", awaitStatus(t, ctx, watcher, 1, pb.UserStatType_USER_STATUS_ONLINE))
	told(true)

	second := logIn(t, ctx, b.Server, "user1", pb.ClientType_CLIENT_TYPE_MAC)
	kick := &pb.IMKickUser{}
	if _, err := first.Expect(ctx, pdu.CmdKickUser, kick); err != nil || kick.GetKickReason() != pb.KickReasonType_KICK_REASON_DUPLICATE_USER || kick.GetUserId() != 1 {
		t.Fatalf("the session on node %s after a login on node %s: %v, %v", a.ID, b.ID, kick, err)
	}
	if err := first.AwaitClose(ctx); err != nil {
		t.Error(err)
	}
	if status(t, ctx, watcher, 1) != pb.UserStatType_USER_STATUS_ONLINE {
		t.Error("the kick has made the user offline")
	}
	third := logIn(t, ctx, a.Server, "user1", pb.ClientType_CLIENT_TYPE_WINDOWS) // and back again
	if _, err := second.Expect(ctx, pdu.CmdKickUser, kick); err != nil {
		t.Fatalf("the session on node %s after a login on node %s: %v", b.ID, a.ID, err)
	}
	a.Kill()
	took := awaitStatus(t, ctx, watcher, 1, pb.UserStatType_USER_STATUS_OFFLINE)
	t.Logf("offline %s after the death of the node", took)
	if took > offlineWithin {
		t.Errorf("a user of a node that died is offline after %s", took)
	}
	told(false)
	if third.Ended() == nil {
		t.Error("the connection to the dead node goes on")
	}
}

// status is a user's presence as the node of a connection has it.
func status(t *testing.T, ctx context.Context, c *Client, user uint32) pb.UserStatType {
	t.Helper()
	p, err := c.Call(ctx, pdu.CmdUsersStatusReq, &pb.IMUsersStatReq{UserId: proto.Uint32(0), UserIdList: []uint32{user}})
	if err != nil {
		t.Fatal(err)
	}
	res := &pb.IMUsersStatRsp{}
	if err := proto.Unmarshal(p.Body, res); err != nil || len(res.GetUserStatList()) != 1 {
		t.Fatalf("%v: %v", res, err)
	}
	return res.GetUserStatList()[0].GetStatus()
}

// awaitStatus asks until a user's presence is so, and tells how long that took.
func awaitStatus(t *testing.T, ctx context.Context, c *Client, user uint32, want pb.UserStatType) time.Duration {
	t.Helper()
	began := time.Now()
	Eventually(t, want.String(), func() bool { return status(t, ctx, c, user) == want })
	return time.Since(began).Round(time.Millisecond)
}
