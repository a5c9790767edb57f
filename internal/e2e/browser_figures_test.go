//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"teamtalk/protocol/crypt"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// TestBrowserFigures prints how large the page is, how soon it can be used on this machine, and how evenly a long conversation scrolls: web/test/figures.mjs.
// With TT_FIGURES the conversation has 10,000 messages; without, fewer, to see that it works. Nothing is asserted of the figures.
func TestBrowserFigures(t *testing.T) {
	chromium(t)
	if os.Getenv("TT_FIGURES") == "" { // else nothing is to run beside it
		together(t)
	}
	count, rounds := 600, 1
	if os.Getenv("TT_FIGURES") != "" {
		count, rounds = 10_000, 5
	}
	s := Start(t, ServerConfig{Args: append(quickPasswords(), "--users", "200", "--password", browserPassword)})
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	peer := logIn(t, ctx, s, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS)
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	const window = 200 // sent ahead of their acks
	for i := range count {
		m := Single(1).TextMessage("")
		m.MsgData = cipher.Encrypt(fmt.Sprintf("message %d of a conversation that has become rather long, %s", i+1, lines(i)))
		if err := peer.Send(ctx, pdu.CmdMsgData, uint16(i%30_000+1), m); err != nil {
			t.Fatal(err)
		}
		if i >= window {
			awaitAck(ctx, t, peer)
		}
	}
	for range min(count, window) {
		awaitAck(ctx, t, peer)
	}
	perform(t, "figures.mjs", map[string]any{"page": "http://" + s.Addr.HTTP + "/", "password": browserPassword, "count": count, "rounds": rounds}, nil)
}

func awaitAck(ctx context.Context, t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.Expect(ctx, pdu.CmdMsgDataAck, &pb.IMMsgDataAck{}); err != nil {
		t.Fatal(err)
	}
}

// lines makes messages differ in height, as they do.
func lines(i int) string {
	switch i % 7 {
	case 0:
		return "with a second line\nand a third one [哈哈]"
	case 3:
		return "中文也有，而且会换行：" + fmt.Sprint(make([]int, i%40))
	default:
		return "short"
	}
}
