//go:build linux

package e2e

import (
	"context"
	"fmt"
	"testing"

	"teamtalk/client"
	"teamtalk/protocol"
)

// browserCast is who is in one conversation: two browsers and a client of before in one office, and the SDK in another one.
type browserCast struct {
	t       *testing.T
	company *company
	old     *veteran  // user3 of the first office
	abroad  *newcomer // user1 of the second office
}

// TestBrowserOffices: two browsers, a client of before over TCP and the SDK of another office in one conversation, and all that the page can do is done in it
// with its buttons: web/test/offices.mjs. With TT_SHOTS, a folder, it leaves pictures there.
func TestBrowserOffices(t *testing.T) {
	chromium(t)
	together(t)
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	c := &browserCast{t: t, company: browserCompany(t)}
	here, there := c.company.offices[0], c.company.offices[1]
	c.old = here.arriveFromLoopback(ctx, t, 3)
	c.abroad = there.arrive(ctx, t, 1, "quic")
	facts := map[string]any{"page": here.Nodes[0].page(), "password": browserPassword, "domain": here.domain, "abroad": there.domain}
	perform(t, "offices.mjs", facts, c.favours(ctx))
}

// A pageChat is a conversation as scripts name it: "u3", "g7".
type pageChat string

func (n pageChat) number(t *testing.T) uint32 {
	t.Helper()
	id := uint32(0)
	for _, digit := range n[1:] {
		id = id*10 + uint32(digit-'0')
	}
	return id
}

func (n pageChat) before(t *testing.T) Chat {
	t.Helper()
	if n[0] == 'g' {
		return Group(n.number(t))
	}
	return Single(n.number(t))
}

func (n pageChat) session(t *testing.T) protocol.Session {
	t.Helper()
	if n[0] == 'g' {
		return protocol.InGroup(protocol.GroupID(n.number(t)))
	}
	return protocol.WithUser(protocol.UserID(n.number(t)))
}

// said is what somebody is made to say where.
type said struct {
	In   pageChat
	Text string
	ID   uint32 // of a message that there is
}

// favours are what the script may have the others do.
func (c *browserCast) favours(ctx context.Context) map[string]favour {
	t := c.t
	local := c.company.offices[0].Nodes[0].Host.IP
	return map[string]favour{
		"old.say":   asked(t, func(s said) any { return c.old.say(ctx, t, s.In.before(t), s.Text) }),
		"old.next":  asked(t, func(struct{}) any { return c.old.next(ctx, t) }),
		"old.read":  asked(t, func(s said) any { c.old.markRead(ctx, t, s.In.before(t), s.ID); return nil }),
		"old.speak": asked(t, func(s said) any { c.old.speak(ctx, t, s.In.before(t), 3); return nil }),
		"old.picture": asked(t, func(s said) any {
			url := upload(t, local, c.company.offices[0].Nodes[0].page(), "sunset.png", sunset(t, 320, 180))
			return c.old.say(ctx, t, s.In.before(t), "&$#@~^@[{:"+url+":}]&$~@#@")
		}),
		"old.fetch": asked(t, func(a struct{ URL string }) any { return fetchAsBefore(t, local, a.URL) }),
		"old.leave": asked(t, func(struct{}) any { c.old.Close(); return nil }),
		"old.arrive": asked(t, func(struct{}) any {
			c.old = c.company.offices[0].arriveFromLoopback(ctx, t, 3)
			return nil
		}),
		"abroad.say": asked(t, func(s said) any { return c.abroad.say(ctx, t, s.In.session(t), s.Text) }),
		"abroad.hears": asked(t, func(s said) any {
			m := c.abroad.hears(ctx, t, s.Text)
			return map[string]any{"in": sessionName(m.Session), "from": m.From, "address": m.FromAddress, "replyTo": m.ReplyTo, "contentType": m.ContentType, "id": m.ID}
		}),
		"abroad.read": asked(t, func(s said) any {
			if err := c.abroad.sdk.MarkRead(ctx, s.In.session(t), protocol.MsgID(s.ID)); err != nil {
				t.Fatal(err)
			}
			return nil
		}),
		"abroad.gone": asked(t, func(s said) any {
			await(ctx, t, c.abroad, "the deletion", func(e *client.MessageDeleted) bool {
				return e.Session == s.In.session(t) && e.ID == protocol.MsgID(s.ID)
			})
			return nil
		}),
		"link": asked(t, func(a struct{ Up bool }) any {
			verb := "pause"
			if a.Up {
				verb = "resume"
			}
			c.company.offices[0].operate(t, "federation", verb, c.company.offices[1].domain)
			return nil
		}),
	}
}

func sessionName(s protocol.Session) string {
	if s.Type == protocol.SessionGroup {
		return fmt.Sprintf("g%d", s.ID)
	}
	return fmt.Sprintf("u%d", s.ID)
}
