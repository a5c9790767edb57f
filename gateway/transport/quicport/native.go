package quicport

import (
	"context"
	"errors"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// serveNative waits for the session stream [TT-QUIC-2], hands it over, and looks after the other streams until the connection ends.
func (p *Port) serveNative(qc *quic.Conn, handle func(transport.Conn)) {
	ctx, cancel := context.WithTimeout(p.life, p.timing.FirstStream)
	str, err := qc.AcceptStream(ctx)
	cancel()
	if err != nil {
		code := protocol.CodeDraining
		if errors.Is(err, context.DeadlineExceeded) {
			p.metrics.refused.WithLabelValues(refusedNoStream).Inc()
			code = protocol.CodeUnauthenticated
		}
		closeConn(qc, code)
		return
	}
	c := newConn(qc, str, p.timing.Flush)
	if p.web != nil || p.peer != nil { // otherwise clients cannot open unidirectional streams at all
		c.str.stray = p.refuseUniStreams
	}
	if !p.sessions.Spawn(c, handle) {
		return
	}
	p.acceptStreams(qc, c)
}

// acceptStreams hands over what a client that has logged in opens beside the session stream, and resets what there must not be, until the connection ends
// [TT-QUIC-3] [TT-FILE-12].
func (p *Port) acceptStreams(qc *quic.Conn, c *conn) {
	for refused := 0; refused < p.limits.RefusedStreams; {
		str, err := qc.AcceptStream(p.life)
		if err != nil {
			closeConn(qc, protocol.CodeDraining) // only if it was not the connection that ended
			return
		}
		if p.carry(qc, c, str) {
			continue
		}
		refused++
		p.metrics.streams.WithLabelValues(streamBulk).Inc()
		str.CancelRead(quic.StreamErrorCode(protocol.CodeForbidden))
		str.CancelWrite(quic.StreamErrorCode(protocol.CodeForbidden))
	}
	p.refuseClient(qc)
}

// carry hands over a stream beside a session; false: there must be none.
func (p *Port) carry(qc *quic.Conn, c *conn, str *quic.Stream) bool {
	u := protocol.UserID(c.user.Load())
	if p.bulk == nil || u == 0 || c.bulk.Load() >= bulkStreams {
		return false
	}
	c.bulk.Add(1)
	b := newBulk(qc, str)
	return p.sessions.Spawn(b, func(transport.Conn) {
		defer c.bulk.Add(-1)
		p.bulk(u, b)
	})
}

// refuseUniStreams stops the unidirectional streams, which have no meaning [TT-QUIC-3]. It is called when the session stream is read: a goroutine that
// waits for them would cost every connection a stack, and until then a few are all that a client gets.
func (p *Port) refuseUniStreams(qc *quic.Conn) {
	for {
		str, err := qc.AcceptUniStream(p.noWait)
		if err != nil {
			return
		}
		p.metrics.streams.WithLabelValues(streamUni).Inc()
		str.CancelRead(quic.StreamErrorCode(protocol.CodeInvalid))
	}
}

// refuseClient ends a connection that keeps opening streams after all were refused.
func (p *Port) refuseClient(qc *quic.Conn) {
	p.metrics.refused.WithLabelValues(refusedStreams).Inc()
	p.log.Debug("too many streams", "remote", qc.RemoteAddr())
	closeConn(qc, protocol.CodeRateLimited)
}
