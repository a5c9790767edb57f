// Package dial gets a TeamTalk client its connection, whatever network it is on.
//
// A server can be reached by five transports, of which a network may let through any or only one. A Dialer tries them in an order that prefers
// the better ones without waiting long for those that do not answer [TT-SESS-23]:
//
//	QUIC       UDP; survives a change of the client's address
//	TLS        TCP
//	WebSocket  where only web traffic passes; through the HTTP proxy of the environment
//	long-poll  where only requests and complete answers pass
//	TCP        plain, and so only where the address or Options.AllowPlain says that plain is good enough
//
// Each starts 250 ms after the one before it, or at once when that has failed. Only connections race: the first that opens wins, the others
// are closed, and nothing was said on any of them. What was won is a Conn, which carries whole PDUs and hides by which transport.
//
// A winner may still turn out to be a connection to nobody: some middleboxes open everything. So a Race goes on when it is asked again, with the
// transports that have not had their turn:
//
//	race := dialer.Race()
//	for {
//		conn, err := race.Next(ctx)
//		if err != nil {
//			return err // nothing is left; it says what became of each
//		}
//		if greeted(conn) { // the caller's handshake, for which it gives 2 s
//			dialer.Remember(conn.Route())
//			return serve(conn)
//		}
//		conn.Close(protocol.CodeUnspecified, "no answer")
//	}
//
// # Proxies
//
// WebSocket and long-poll go through the HTTP, HTTPS or SOCKS5 proxy that Options.Proxy names for them; by CONNECT, but for long-poll over plain
// HTTP, whose requests the proxy passes on itself. Basic authentication takes name and password from the proxy's URL. QUIC, TLS and TCP are
// always tried directly: most proxies forbid what is not HTTP inside, and where TLS passes directly it is the better way.
package dial
