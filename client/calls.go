package client

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// List is a list that the server answered with. Stale: the server had no contact with the others, so newer entries may be missing.
type List[T any] struct {
	Items []T
	Stale bool
}

// ask sends a request and waits for its answer, over reconnects, for as long as ctx says. What may be asked twice is asked again on the next
// connection when one breaks; anything else fails with ErrInterrupted once it was sent.
func ask[M proto.Message](ctx context.Context, c *Client, cmd, answer pdu.Command, body proto.Message, repeat bool) (M, bool, error) {
	return askFor[M](ctx, c, &request{command: cmd, answer: answer, body: body, repeat: repeat})
}

// askFor is ask for any request.
func askFor[M proto.Message](ctx context.Context, c *Client, r *request) (M, bool, error) {
	c.engine.events.calling(1)
	defer c.engine.events.calling(-1)
	var none M
	if err := c.engine.requests.do(ctx, r); err != nil {
		return none, false, fmt.Errorf("%v: %w", r.command, err)
	}
	resp, ok := r.resp.(M)
	if !ok {
		return none, false, fmt.Errorf("%v: %w", r.command, &Error{Code: protocol.CodeInternal, Message: "an answer of another kind"})
	}
	return resp, r.stale, nil
}

// meWire is this user as requests carry it; the server does not believe it.
func (c *Client) meWire() *uint32 { return proto.Uint32(uint32(c.Me())) }

func sessionType(in protocol.Session) *pb.SessionType { return pb.SessionType(in.Type).Enum() }
