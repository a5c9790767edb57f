package scalemodel

import (
	"crypto/ed25519"
	"math"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// textBytes is a message's text as clients carry it: 120 bytes of the cipher's base64.
const textBytes = 120

// wire measures what an event needs on a link: the share of an event in a full batch, and what a batch has of its own.
func wire(t *testing.T) (event func(typ fed.Type, body any, group bool) float64, batch float64) {
	t.Helper()
	self := fed.Signer{Cluster: fed.ClusterID{1}, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	size := func(events ...[]byte) float64 {
		b := fed.Batch{Epoch: 1, Lane: 3, First: 1_000_000}
		for _, e := range events {
			b.Events = append(b.Events, self.SignEvent(e))
		}
		self.SignBatch(&b, fed.ClusterID{2})
		f := fed.NewFrame(fed.KindBatch, b)
		return float64(len(f.Append(nil)))
	}
	event = func(typ fed.Type, body any, group bool) float64 {
		e := fed.Event{ID: fed.EventID{Cluster: self.Cluster, Index: 10_000_000, Place: 100}, Time: 1_800_000_000_000_000_000,
			Author: fed.UserRef{Cluster: self.Cluster, ID: 100_000}}
		if group {
			e.Group = fed.GroupRef{Cluster: fed.ClusterID{2}, ID: 100_000}
		} else {
			e.To = fed.UserRef{Cluster: fed.ClusterID{2}, ID: 100_000}
		}
		b := e.Encode(typ, body)
		return size(b, b) - size(b)
	}
	return event, size()
}

// TestSizes: what the model takes for the size of an event is what the program encodes.
func TestSizes(t *testing.T) {
	event, batch := wire(t)
	s := Default().Traffic.Size
	said := fed.Message{Type: protocol.MsgSingleText, Data: make([]byte, textBytes)}
	inner := fed.Event{ID: fed.EventID{Cluster: fed.ClusterID{1}, Index: 10_000_000}, Time: 1_800_000_000_000_000_000,
		Author: fed.UserRef{Cluster: fed.ClusterID{1}, ID: 100_000}, Group: fed.GroupRef{Cluster: fed.ClusterID{2}, ID: 100_000}}
	bytes := inner.Encode(fed.TypePost, said)
	post := fed.HubPost{Seq: 100_000, Inner: fed.SignedEvent{Event: bytes, Signature: fed.Signature{}}}
	ack := fed.NewFrame(fed.KindAck, fed.Ack{Epoch: 1, Lane: 3, Sequence: 1_000_000})
	const packets = 1.05 // headers of IP, UDP and QUIC
	for _, c := range []struct {
		name string
		has  float64
		want float64
	}{
		{"message", s.Message, packets * event(fed.TypeMessage, said, false)},
		{"post", s.Post, packets * event(fed.TypePost, said, true)},
		{"hub post", s.HubPost, packets * event(fed.TypeHubPost, post, true)},
		{"mark", s.Mark, packets * event(fed.TypeMark, fed.Mark{UpTo: fed.EventID{Cluster: fed.ClusterID{2}, Index: 10_000_000, Place: 3}}, false)},
		{"change", s.Change, packets * event(fed.TypeProfile, fed.Profile{Login: "lin", Nick: "Lin Wei", Avatar: "http://example.com/a/100000.png", Sign: "back on Monday", Updated: 1_800_000_000_000_000_000}, false)},
		{"signed", s.Signed, packets*event(fed.TypePost, said, true) - float64(len(bytes))},
		{"batch", s.Batch, batch + 60},
		{"ack", s.Ack, float64(len(ack.Append(nil))) + 60},
	} {
		t.Logf("%s: %.0f bytes, the model has %.0f", c.name, c.want, c.has)
		if math.Abs(c.has-c.want) > 0.1*c.want {
			t.Errorf("%s: %.0f bytes, the model has %.0f", c.name, c.want, c.has)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	self, event := fed.Signer{Cluster: fed.ClusterID{1}, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}, make([]byte, 250)
	for b.Loop() {
		self.SignEvent(event)
	}
}

func BenchmarkCheck(b *testing.B) {
	self := fed.Signer{Cluster: fed.ClusterID{1}, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	event := self.SignEvent(make([]byte, 250))
	public, _ := self.Key.Public().(ed25519.PublicKey)
	keys := fed.Keys{fed.KeyIDOf(public): public}
	for b.Loop() {
		if err := event.Verify(self.Cluster, keys); err != nil {
			b.Fatal(err)
		}
	}
}
