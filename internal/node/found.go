package node

import (
	"context"
	"fmt"
	"time"

	"teamtalk/protocol"
)

// found gives a new cluster its name and secrets; a cluster that has them keeps them. All that clients are given to resume with depends on them, so
// a node that can neither find nor make them does not start.
func (n *Node) found(ctx context.Context) error {
	c, err := n.store.Cluster()
	switch {
	case err == nil && (c.NodeCert != "" || n.peering.port == nil):
		return n.settle()
	case err != nil && protocol.CodeOf(err) != protocol.CodeNotFound:
		return err
	case n.peering.isGuest:
		return n.awaitSecrets(ctx)
	}
	if n.peering.port == nil {
		if n.peering.founding, err = newSecrets(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	if _, err := n.store.Execute(ctx, &protocol.FoundCluster{Cluster: n.peering.founding}); err != nil {
		return fmt.Errorf("a new cluster needs a leader, to write down its name and secrets: %w", err)
	}
	if err := n.store.RaiseLevel(ctx, n.store.HighestLevel()); err != nil { // there is nobody yet who could know less
		return fmt.Errorf("a new cluster needs a leader, to write down what it uses: %w", err)
	}
	n.log.Info("cluster founded", "level", n.store.Level(), "cluster", fmt.Sprintf("%x", n.peering.founding.ID[:4]))
	return n.settle()
}

// awaitSecrets waits until a node that was let in has got the state up to where the secrets are.
func (n *Node) awaitSecrets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := n.store.Cluster(); protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
		select {
		case <-again.C:
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("the cluster let this node in, but sends it nothing: is %s, which it was told, reachable from the other nodes? (%w)", n.advertised(), context.Cause(ctx))
		}
	}
}

// joinTime is how long a node that was let in waits for the state: it may be many gigabytes.
const joinTime = time.Hour

// settle keeps the identity that a founder has made: from here on the cluster knows the authority that signed it.
func (n *Node) settle() error {
	if n.peering.identity == nil || n.peering.isGuest {
		return nil
	}
	if _, err := loadIdentity(n.identityDir()); err == nil {
		return nil
	}
	return n.saveIdentity(n.peering.identity)
}
