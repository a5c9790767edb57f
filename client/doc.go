// Package client is the Go SDK of TeamTalk: a session that survives changes of network, address and server node, in which every message is
// stored exactly once and every event arrives exactly once and in order.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os"
//		"os/signal"
//
//		"teamtalk/client"
//	)
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		storage, err := client.NewFileStorage("echo-bot.session")
//		if err != nil {
//			log.Fatal(err)
//		}
//		bot, err := client.Open(ctx, client.Config{
//			Addresses: []string{"chat.example.com"},
//			Name:      "echo",
//			Password:  os.Getenv("ECHO_PASSWORD"),
//			Storage:   storage,
//			OnEvent: func(c *client.Client, ev client.Event) {
//				if m, ok := ev.(*client.Message); ok && !m.Mine && m.Text != "" {
//					if _, err := c.Send(ctx, m.Session, client.Text(m.Text)); err != nil {
//						log.Print(err)
//					}
//				}
//			},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		select {
//		case <-ctx.Done():
//		case <-bot.Done():
//			log.Print(bot.Err())
//		}
//		if err := bot.Close(); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// # Connections
//
// Where and how to connect is package dial's: QUIC, TLS, WebSocket and HTTP long-poll, whichever gets through first. The client keeps one
// connection at a time. When it breaks, or is silent for two heartbeats, the session is resumed on another; attempts are spaced by
// full jitter, from 200 ms to 30 s. While it idles on a lesser transport it looks for a better one: once a minute, after five looks in vain
// once an hour, and at once when NetworkChanged is called. A node that is about to stop is left before it does.
//
// A server with more logins than it can check passwords for lets them wait in a queue: Status and StateChanged say at which position and for how
// long about, and the client waits there for as long as the connection lives. Sessions that are resumed do not queue.
//
// The client stops for good, which Done and Err tell, when it is closed or logged out, when the server kicks it, when another program goes on with
// its device id, and when neither the session nor name and password are accepted. Everything else is tried again.
//
// # Sending
//
// Send queues a message; the Outgoing it returns follows the message until it is read. The queue survives reconnects and, with a Storage, the
// program. A message is repeated, with an id of its own, until the cluster acks it, and the cluster stores it once. Messages go in the order of
// Send; what was on its way when a connection broke goes again before anything new.
//
// # Events
//
// Events come one at a time, through the channel Events or to Config.OnEvent. With a session resumed, each comes once, also when the
// program was closed in between and has a Storage. After a crash, what came since the last save, about a second, comes again. A Gap says that
// events were missed for good, and that lists and histories have to be fetched anew; so does the first Online of a program without
// a stored session. Marks, presence and P2P commands are not repeated after a break; presence is asked for again.
//
// A slow app is waited for: 256 events lie in the client, then it stops reading. Heartbeats go on meanwhile. While a call waits for its
// answer up to 4,096 may lie there, so that a handler's calls get their answers from behind them.
//
// # Deleted messages
//
// A message can be taken back with Recall, and one that was sent with a BurnAfter is deleted so long after the other has read it, as MarkRead
// told the server, or at once by Burn. Its content is gone then, everywhere; number, author and time stay. The event MessageDeleted says so to all
// clients, and the app has to remove what it has kept. A client that was away when both happened gets the Message with Gone set, and then the
// MessageDeleted; histories have Gone and Deleted set.
//
// # Other offices
//
// People and groups of other offices that the server is linked with have ids like any other, and are used like them; User and Group have Address and Remote,
// a Message the FromAddress of its author. Search finds people there. What happens to a message on its way there is told by MessageStateChanged, and by
// Outgoing: stored here it is safe, but an office may be out of reach for a while, or refuse it. In a group of several offices each has its own numbers; Arrange
// brings messages into the order that is the same for all [TT-FED-3].
//
// # Calls
//
// All other methods ask the server and wait for the answer for as long as their context says, also for a connection. Those that only read are asked
// again when the connection breaks; those that change something, and can't be repeated without changing more, fail with ErrInterrupted then.
// A List with Stale set comes from a node without contact to the others. Refusals are an *Error, whose code protocol.CodeOf reads.
//
// # Legacy servers
//
// Servers without the session extension don't know HELLO. Config.Legacy allows them; LegacyFallback finds out, on plain TCP only: once it has,
// the password's hash goes there without anybody having proved that this is the server. Nothing is repeated there, so each reconnect is a Gap,
// messages go one at a time, and one whose ack is missing fails with ErrInterrupted, because a repeat would be another message.
package client
