package admin

import (
	"context"
	"io"
	"net/http"
	"time"

	"teamtalk/internal/cluster"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// Cluster is what the API needs to know about the cluster. Whatever node is asked, the right one does it.
type Cluster interface {
	Status(ctx context.Context) cluster.Status
	Token(life time.Duration) (authority.Token, error)
	Remove(ctx context.Context, id protocol.NodeID, force bool) error
	Transfer(ctx context.Context, to protocol.NodeID) (protocol.NodeID, error)
	Drain(ctx context.Context, id protocol.NodeID, then cluster.AfterDrain) error
	Snapshot(ctx context.Context, id protocol.NodeID) error
}

// Backups writes consistent copies of the state of this node.
type Backups interface {
	Backup(ctx context.Context, to io.Writer) error
	// HoldsRootKey reports whether a copy holds what this cluster proves to others that it is itself by.
	HoldsRootKey() (bool, error)
}

// changeTime is how long a change of the cluster may take.
const changeTime = 30 * time.Second

// clusterHandlers are the requests about the cluster; a node that has none to manage has none of them.
func (s *server) clusterHandlers() map[string]handler {
	if s.cluster == nil {
		return nil
	}
	return map[string]handler{
		"GET /api/v1/cluster":           s.showCluster,
		"POST /api/v1/cluster/token":    s.makeJoinToken,
		"POST /api/v1/cluster/remove":   s.removeNode,
		"POST /api/v1/cluster/transfer": s.transferLead,
		"POST /api/v1/cluster/drain":    s.drainNode,
		"POST /api/v1/cluster/snapshot": s.snapshotNode,
	}
}

func (s *server) showCluster(ctx context.Context, _ *http.Request) (any, error) {
	return s.cluster.Status(ctx), nil
}

func (s *server) makeJoinToken(_ context.Context, r *http.Request) (any, error) {
	var n NewJoinToken
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	life, err := lifeOf(n.For)
	if err != nil {
		return nil, err
	}
	t, err := s.cluster.Token(life)
	if err != nil {
		return nil, err
	}
	s.log.Info("join token handed to an operator", "token", t.ID(), "expires", t.Expires)
	return JoinToken{Token: t.Line(), ID: t.ID(), Addresses: t.Addresses, Expires: t.Expires}, nil
}

// nodeChange carries out a request that names a node, in limited time.
func (s *server) nodeChange(ctx context.Context, r *http.Request, what string, do func(context.Context, NodeRequest) error) error {
	var n NodeRequest
	if err := readJSON(r, &n); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	if err := do(ctx, n); err != nil {
		return err
	}
	s.log.Info("cluster changed by operator", "change", what, "node", n.Node, "force", n.Force)
	return nil
}

func (s *server) removeNode(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.nodeChange(ctx, r, "remove", func(ctx context.Context, n NodeRequest) error {
		if n.Node == "" {
			return protocol.Errorf(protocol.CodeInvalid, "no node was named to remove")
		}
		return s.cluster.Remove(ctx, n.Node, n.Force)
	})
}

func (s *server) transferLead(ctx context.Context, r *http.Request) (any, error) {
	var leads Leader
	err := s.nodeChange(ctx, r, "transfer", func(ctx context.Context, n NodeRequest) (err error) {
		leads.Leader, err = s.cluster.Transfer(ctx, n.Node)
		return err
	})
	return leads, err
}

func (s *server) drainNode(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.nodeChange(ctx, r, "drain", func(ctx context.Context, n NodeRequest) error { return s.cluster.Drain(ctx, n.Node, n.Then) })
}

func (s *server) snapshotNode(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.nodeChange(ctx, r, "snapshot", func(ctx context.Context, n NodeRequest) error { return s.cluster.Snapshot(ctx, n.Node) })
}

// The trailer of a backup says whether it is whole: the status was sent when nobody could know.
const (
	backupTrailer  = "Teamtalk-Backup"
	backupComplete = "complete"
)

// begunBody notes whether a part of the body was sent, after which no other status can be.
type begunBody struct {
	http.ResponseWriter
	begun bool
}

// Write sends a part of the body.
func (b *begunBody) Write(p []byte) (int, error) {
	b.begun = true
	return b.ResponseWriter.Write(p)
}

// encryptedByCaller is the query by which the caller promises to encrypt what he gets before it is kept anywhere.
const encryptedByCaller = "encrypted-by=caller"

// mayCopy is an error if the state holds what may not be kept as it is [FED-ID-4], and the caller does not promise to encrypt it.
func (s *server) mayCopy(r *http.Request) error {
	if r.URL.RawQuery == encryptedByCaller {
		return nil
	}
	holds, err := s.backups.HoldsRootKey()
	if err != nil {
		return err
	}
	if holds {
		return protocol.Errorf(protocol.CodeForbidden, "the state holds the root key by which other offices know this one, so a backup has to be encrypted: `teamtalkd backup --passphrase-file FILE`")
	}
	return nil
}

// backup streams a copy of the state.
func (s *server) backup(w http.ResponseWriter, r *http.Request) {
	if err := s.mayCopy(r); err != nil {
		e := s.failure(r, err)
		writeJSON(w, e.Status, e)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Trailer", backupTrailer)
	body := &begunBody{ResponseWriter: w}
	err := s.backups.Backup(r.Context(), body)
	switch {
	case err == nil:
		w.Header().Set(backupTrailer, backupComplete)
		s.log.Info("backup sent to an operator")
	case body.begun:
		w.Header().Set(backupTrailer, s.failure(r, err).Message)
	default:
		w.Header().Del("Trailer")
		e := s.failure(r, err)
		writeJSON(w, e.Status, e)
	}
}
