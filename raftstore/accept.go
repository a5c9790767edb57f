package raftstore

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/hashicorp/raft"
)

// bundle is what another node forwarded; it stays together in one entry.
type bundle struct {
	from     NodeID
	commands []TaggedCommand
	bytes    int
}

// Accept carries out commands that another node forwarded, in their order and after those of its earlier calls. queued
// (nil: nobody) is called when they have their place in that order; then the node's next call may come. nil means that they
// were executed; whoever sent them gets the results from his own log. Errors are protocol.Errors: too large; or unavailable
// (not the leader, disk full, shutting down), with OutcomeUnknown set if the commands may be executed all the same.
func (s *Store) Accept(ctx context.Context, from NodeID, commands []TaggedCommand, queued func()) error {
	b := &bundle{from: from, commands: commands}
	for _, c := range commands {
		if len(c.Command) > MaxCommand {
			return errTooLarge(len(c.Command))
		}
		b.bytes += len(c.Command)
	}
	if len(commands) == 0 || len(commands) > maxGrouped || from == "" || len(from) > maxNodeName {
		return unavailable("no commands that can be forwarded", errForward)
	}
	s.cluster.metrics.accepted.Add(float64(len(commands)))
	err := s.accept(ctx, b, queued)
	if err != nil {
		s.cluster.metrics.refused.WithLabelValues(refusal(err)).Add(float64(len(commands)))
	}
	return err
}

var errForward = errors.New("commands were not forwarded properly")

func (s *Store) accept(ctx context.Context, b *bundle, queued func()) error {
	if err := s.failed(); err != nil {
		return err
	}
	if !s.IsLeader() {
		return unavailable("this node is not the leader", raft.ErrNotLeader)
	}
	p := newProposal(nil)
	p.bundle = b
	if err := s.batches.enqueue(ctx, p); err != nil {
		return err
	}
	if queued != nil {
		queued()
	}
	_, err := s.batches.await(ctx, p)
	return err
}

// origins are the runs of consecutive sequences, for commands that begin at a place in an entry.
func (b *bundle) origins(at int) []origin {
	var out []origin
	for i, c := range b.commands {
		if n := len(out); n > 0 && out[n-1].first+uint64(out[n-1].n) == c.Sequence {
			out[n-1].n++
			continue
		}
		out = append(out, origin{node: b.from, at: at + i, n: 1, first: c.Sequence})
	}
	return out
}

// EncodeTagged packs commands for the way to the leader: a version (1), 8 bytes little endian for each sequence, after their
// count, then the commands with their lengths.
func EncodeTagged(commands []TaggedCommand) []byte {
	size := 1
	plain := make([][]byte, len(commands))
	for i, c := range commands {
		plain[i] = c.Command
		size += len(c.Command) + sequenceLen + binary.MaxVarintLen32
	}
	b := make([]byte, 0, size+2*binary.MaxVarintLen32)
	b = append(b, taggedVersion)
	b = binary.AppendUvarint(b, uint64(len(commands)))
	for _, c := range commands {
		b = binary.LittleEndian.AppendUint64(b, c.Sequence)
	}
	return appendCommands(b, plain)
}

const taggedVersion = 1

var errTagged = errors.New("forwarded commands are damaged, or of a newer version")

// DecodeTagged unpacks what EncodeTagged packed; the commands share b's memory.
func DecodeTagged(b []byte) ([]TaggedCommand, error) {
	if len(b) == 0 || b[0] != taggedVersion {
		return nil, errTagged
	}
	count, b, ok := cutUvarint(b[1:])
	if !ok || count > maxGrouped || count*sequenceLen > uint64(len(b)) {
		return nil, errTagged
	}
	plain, err := decodeCommands(b[count*sequenceLen:])
	if err != nil || len(plain) != int(count) {
		return nil, errTagged
	}
	out := make([]TaggedCommand, count)
	for i := range out {
		out[i] = TaggedCommand{binary.LittleEndian.Uint64(b[i*sequenceLen:]), plain[i]}
	}
	return out, nil
}
