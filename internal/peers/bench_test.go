package peers

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"teamtalk/protocol"
)

// BenchmarkProposals forwards commands of 300 bytes from one node to another over TLS, as a follower does.
func BenchmarkProposals(b *testing.B) {
	w := newWorld(b)
	leader := w.join(b, "n1", func(ctx context.Context, _ protocol.NodeID, _ uint8, p []byte) ([]byte, error) {
		Accepted(ctx)
		return p[:16], nil
	}, nil, nil)
	follower := w.join(b, "n2", echo, nil, nil)
	follower.expect(b, "n1 up")
	leader.expect(b, "n2 up")
	payload := make([]byte, 300)
	for _, senders := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			var wg sync.WaitGroup
			for range senders {
				wg.Go(func() {
					for range (b.N + senders - 1) / senders {
						if _, err := follower.Call(b.Context(), "n1", LanePropose, 1, payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
