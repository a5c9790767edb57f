package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"teamtalk/protocol"
)

// source is somebody who may have a blob.
type source interface {
	// fetch writes the content from offset on; errMismatch if it can't be that of the blob.
	fetch(ctx context.Context, b protocol.Blob, offset uint64, w io.Writer) error
	// kind is what metrics call it.
	kind() string
	// String is what logs call it.
	String() string
}

// sources are those who may have a blob, the best first: nodes of this cluster that can be reached, then those that seem not to be, then its own cluster.
func (k *Keeper) sources(b protocol.Blob, holders []protocol.NodeID) []source {
	var all []source
	if k.cfg.Nodes != nil {
		others := k.cfg.Nodes.Others()
		for _, reachable := range []bool{true, false} {
			for _, node := range holders {
				if up, member := others[node]; member && up == reachable {
					all = append(all, fromNode{k, node})
				}
			}
		}
	}
	if b.Peer != [16]byte{} && k.cfg.Abroad != nil {
		all = append(all, fromAbroad{k})
	}
	return all
}

// fromNode is another node of the cluster.
type fromNode struct {
	keeper *Keeper
	node   protocol.NodeID
}

func (s fromNode) kind() string   { return "node" }
func (s fromNode) String() string { return "node " + string(s.node) }

func (s fromNode) fetch(ctx context.Context, b protocol.Blob, offset uint64, w io.Writer) error {
	c, err := s.keeper.cfg.Nodes.Dial(ctx, s.node)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	return request(&patient{Conn: c, stall: s.keeper.cfg.Tuning.Stall}, b, offset, s.keeper.counted(s.kind(), w))
}

// fromAbroad is the cluster that the blob comes from.
type fromAbroad struct{ keeper *Keeper }

func (s fromAbroad) kind() string   { return "abroad" }
func (s fromAbroad) String() string { return "the cluster it comes from" }

func (s fromAbroad) fetch(ctx context.Context, b protocol.Blob, offset uint64, w io.Writer) error {
	return s.keeper.cfg.Abroad.Fetch(ctx, b.Peer, b.ID, offset, s.keeper.counted(s.kind(), w))
}

// counted counts what is received.
func (k *Keeper) counted(kind string, w io.Writer) io.Writer {
	return &counter{w, k.metrics.bytes.WithLabelValues(kind, "in").Add}
}

type counter struct {
	io.Writer
	add func(float64)
}

// Write counts what was taken.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.add(float64(n))
	return n, err
}

// request asks another node's Serve for a blob.
func request(c io.ReadWriter, b protocol.Blob, offset uint64, w io.Writer) error {
	if _, err := c.Write(encodeRequest(b.ID, offset)); err != nil {
		return err
	}
	size, err := readAnswer(c)
	if err != nil {
		return err
	}
	if size != b.Size || offset > size {
		return fmt.Errorf("%w: it has %d bytes instead of %d", errMismatch, size, b.Size)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(c, int64(size-offset)), make([]byte, pieceSize))
	if err == nil && uint64(n) != size-offset {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// copiesWanted is how many nodes have each blob of this cluster, if there are as many.
const copiesWanted = 2

// wantCopy reports whether it is this node's turn to get a copy, so that there are enough of them. Blobs of other clusters stay there.
func (k *Keeper) wantCopy(b protocol.Blob, holders []protocol.NodeID) bool {
	return k.makesCopies() && k.wantCopyAmong(k.cfg.Nodes.Others(), b, holders)
}

// makesCopies reports whether content is copied at all: there are other nodes, and each has its own.
func (k *Keeper) makesCopies() bool { return k.cfg.Nodes != nil && !k.cfg.Backend.Shared() }

func (k *Keeper) wantCopyAmong(others map[protocol.NodeID]bool, b protocol.Blob, holders []protocol.NodeID) bool {
	if b.Peer != [16]byte{} || slices.Contains(holders, k.cfg.Node) {
		return false
	}
	copies := 0
	for _, node := range holders {
		if _, member := others[node]; member {
			copies++
		}
	}
	if copies == 0 || copies >= copiesWanted {
		return false
	}
	mine := rank(b.ID, k.cfg.Node)
	for node, up := range others {
		if up && !slices.Contains(holders, node) && rank(b.ID, node) > mine {
			return false
		}
	}
	return true
}

// errStopped ends a List.
var errStopped = errors.New("stopped")
