package quicport

import (
	"context"
	"errors"

	"github.com/quic-go/quic-go"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
)

// serveNative waits for the session stream [TT-QUIC-2], hands it over, and refuses the other streams until the connection ends.
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
	p.refuseStreams(qc)
}

// refuseStreams resets what a client opens beside the session stream, until the connection ends [TT-QUIC-3].
func (p *Port) refuseStreams(qc *quic.Conn) {
	for range p.limits.RefusedStreams {
		str, err := qc.AcceptStream(p.life)
		if err != nil {
			closeConn(qc, protocol.CodeDraining) // only if it was not the connection that ended
			return
		}
		p.metrics.streams.WithLabelValues(streamBulk).Inc()
		str.CancelRead(quic.StreamErrorCode(protocol.CodeForbidden))
		str.CancelWrite(quic.StreamErrorCode(protocol.CodeForbidden))
	}
	p.refuseClient(qc)
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
