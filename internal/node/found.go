package node

import (
	"context"
	"crypto/rand"
	"fmt"

	"teamtalk/protocol"
)

// found gives a new cluster its name and secrets; a cluster that has them keeps them. All that clients are given to resume with depends on them, so
// a node that can neither find nor make them does not start.
func (n *Node) found(ctx context.Context) error {
	_, err := n.store.Cluster()
	if protocol.CodeOf(err) != protocol.CodeNotFound {
		return err
	}
	var c protocol.Cluster
	for _, secret := range [][]byte{c.ID[:], c.History[:], c.TokenKey[:], c.AddressKey[:]} {
		if _, err := rand.Read(secret); err != nil {
			return fmt.Errorf("secrets of the cluster: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	if _, err := n.store.Execute(ctx, &protocol.FoundCluster{Cluster: c}); err != nil {
		return fmt.Errorf("a new cluster needs a leader, to write down its name and secrets: %w", err)
	}
	n.log.Info("cluster founded", "cluster", fmt.Sprintf("%x", c.ID[:4]))
	return nil
}
