// Package load puts load on a TeamTalk server through the native protocol and checks what comes back: every message that
// was acked has to arrive once, in order, with the id that the ack gave.
//
// The generator shares the machine with the server, so it is made to be cheap: one goroutine per connection, one system
// call for all that is ready, no allocation per message, fields read by hand where it counts.
package load
