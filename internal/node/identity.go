package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"teamtalk/internal/admin"
	"teamtalk/internal/obs"
	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// identityDir is where in the data directory a node keeps what it proves itself to other nodes with.
const identityDir = "node"

func (n *Node) identityDir() string { return filepath.Join(n.cfg.Data, identityDir) }

// identify finds out who this node is in its cluster: the one it was, one that a token lets in, or the first of a new cluster.
func (n *Node) identify(ctx context.Context) error {
	if n.peering.listener == nil {
		if n.cfg.Join != "" {
			return errors.New("listen.node is off, so this node cannot join a cluster: set it, :7000 for example")
		}
		return nil
	}
	id, err := loadIdentity(n.identityDir())
	switch {
	case err == nil:
		if n.cfg.Join != "" {
			n.log.Info("this node has joined before: the token is not needed", "node", id.Node())
		}
		n.peering.identity = id
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("identity of this node in %s: %w", n.identityDir(), err)
	case n.cfg.Join != "":
		err = n.join(ctx)
	default:
		err = n.prepareFounding()
	}
	if n.peering.identity == nil {
		return err
	}
	if own := string(n.peering.identity.Node()); n.cfg.Node.ID != own {
		if n.cfg.Origin("node.id") != originDefault {
			return fmt.Errorf("node.id is %q, but the node whose data is in %s is %q: remove the key, or point data at another directory", n.cfg.Node.ID, n.cfg.Data, own)
		}
		n.cfg.Node.ID = own
	}
	return nil
}

// join asks the cluster of the token to be let in, and keeps what it gets.
func (n *Node) join(ctx context.Context) error {
	if err := raftstore.Peek(n.cfg.Data, func(*bbolt.Tx) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s holds the data of another cluster: a node joins with an empty data directory", n.cfg.Data))
	}
	token, err := authority.ParseToken(n.cfg.Join)
	if err != nil {
		return fmt.Errorf("join token: %w", err)
	}
	id, reply, err := n.askToJoin(ctx, token)
	if err != nil {
		return fmt.Errorf("join the cluster at %v: %w", token.Addresses, err)
	}
	n.peering.identity, n.peering.isGuest = id, true
	n.log.Info("joined", "node", id.Node(), "members", len(reply.Members))
	return n.saveIdentity(id)
}

// joinPatience is for how long a node asks again to be let in while the cluster has no leader.
const joinPatience = 20 * time.Second

// askToJoin asks the cluster of a token to let this node in.
func (n *Node) askToJoin(ctx context.Context, token authority.Token) (*authority.Identity, peers.JoinReply, error) {
	request := peers.JoinRequest{Address: n.advertised(), Name: n.cfg.nodeName(), Version: obs.BuildVersion().Version, Level: n.cfg.highestLevel()}
	for began := time.Now(); ; {
		id, reply, err := peers.Joining{Token: token}.Join(ctx, request)
		if protocol.CodeOf(err) != protocol.CodeUnavailable || time.Since(began) > joinPatience {
			return id, reply, err
		}
		n.log.Info("the cluster can't let this node in at the moment; asking again", "addresses", token.Addresses, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, reply, ctx.Err()
		}
	}
}

// prepareFounding makes the secrets of a new cluster, or completes those of one that knew no other nodes so far.
func (n *Node) prepareFounding() error {
	c, err := peekCluster(n.cfg.Data)
	if err != nil {
		return err
	}
	var auth *authority.Authority
	if c.NodeCert == "" {
		if auth, err = authority.New(authority.ClusterID(c.ID), time.Now()); err != nil {
			return err
		}
		cert, key, err := auth.PEM()
		if err != nil {
			return err
		}
		c.NodeCert, c.NodeKey = string(cert), string(key)
		if _, err := rand.Read(c.JoinKey[:]); err != nil {
			return err
		}
	} else if auth, err = authority.Load([]byte(c.NodeCert), []byte(c.NodeKey)); err != nil {
		return err
	}
	n.peering.founding = c
	n.peering.identity, err = auth.Identify(protocol.NodeID(n.cfg.Node.ID), time.Now(), 0)
	return err
}

// peekCluster reads the secrets of the cluster whose data is there, or makes new ones.
func peekCluster(dir string) (c protocol.Cluster, err error) {
	err = raftstore.Peek(dir, func(tx *bbolt.Tx) error {
		c, err = state.ClusterOf(tx)
		return err
	})
	if errors.Is(err, os.ErrNotExist) || protocol.CodeOf(err) == protocol.CodeNotFound {
		return newSecrets()
	}
	return c, err
}

// newSecrets names a cluster.
func newSecrets() (c protocol.Cluster, err error) {
	for _, secret := range [][]byte{c.ID[:], c.History[:], c.TokenKey[:], c.AddressKey[:]} {
		if _, err := rand.Read(secret); err != nil {
			return c, fmt.Errorf("secrets of the cluster: %w", err)
		}
	}
	return c, nil
}

func loadIdentity(dir string) (*authority.Identity, error) {
	var parts [3][]byte
	for i, name := range identityFiles() {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		parts[i] = b
	}
	return authority.LoadIdentity(parts[0], parts[1], parts[2])
}

// identityFiles are certificate, key and the authority's certificate. The last one is written last: without it there is no identity.
func identityFiles() [3]string { return [3]string{"cert.pem", "key.pem", "authority.pem"} }

func (n *Node) saveIdentity(id *authority.Identity) error {
	dir := n.identityDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cert, key, root, err := id.PEM()
	if err != nil {
		return err
	}
	for i, part := range [][]byte{cert, key, root} {
		if err := admin.WriteFile(filepath.Join(dir, identityFiles()[i]), part, 0o600); err != nil {
			return fmt.Errorf("identity of this node: %w", err)
		}
	}
	return nil
}
