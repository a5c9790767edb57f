// Package simnet builds faulty networks for tests: paths with delay, jitter, loss, moments in which nothing passes, and connections that
// end without notice. What it decides by chance comes from a seed.
//
// There are three kinds, from the most real to the fastest:
//
//   - Package netns, below this one, joins two network namespaces of the kernel by a path that this process relays packet by packet. TCP
//     really retransmits there and QUIC really measures. It needs Linux and root.
//   - RelayTCP and RelayUDP stand on loopback ports between a client and a server. UDP is treated packet by packet. A TCP relay ends the
//     client's TCP and begins another, so it can lose nothing: a lost segment is one that comes later, by the retransmission
//     timeout a sender would have waited, and all behind it waits too. What it can't show: the sender's congestion window, fast retransmission,
//     a connect that fails (the relay's own kernel accepts at once; the round trip of the handshake is charged to the first bytes), and a
//     sender that gives up.
//   - Network is in memory and works in synctest bubbles, where time is virtual. Its streams lose nothing but can be cut.
//
// A Link is the path of one of them and what a test controls it by.
package simnet
