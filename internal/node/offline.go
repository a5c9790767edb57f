package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"teamtalk/internal/obs"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
)

// nowhere is the address of a node that does not run; it corrects it when it does.
const nowhere = "127.0.0.1:7000"

// Restored says what a backup held.
type Restored struct {
	Cluster string    `json:"cluster,omitempty"`
	Node    string    `json:"node"` // who made it
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time"`
	Bytes   int64     `json:"bytes"`
}

// Restore makes the data directory of a new cluster, of one node, out of a backup. The directory must have no data.
func Restore(dir string, backup io.Reader) (Restored, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return Restored{}, err
	}
	info, err := raftstore.RestoreBackup(dir, backup, raftstore.Rebuild{Node: protocol.NodeID(Default().Node.ID), Address: nowhere,
		Program: obs.BuildVersion().Version, Renew: state.RenewCluster})
	return Restored{Cluster: info.Cluster, Node: string(info.Node), Index: info.Index, Time: info.Time, Bytes: info.Size}, err
}

// Remainder is what a node has of its cluster.
type Remainder struct {
	Node    string   `json:"node"`
	Members []string `json:"members"` // as far as this node knew
	Applied uint64   `json:"applied"`
	Log     uint64   `json:"log"` // the last entry, committed or not
}

// Inspect tells which node's data is in a directory, and what Recover would start from.
func Inspect(dir string) (Remainder, error) {
	return onNode(dir, func(id protocol.NodeID) (raftstore.Recovery, error) {
		return raftstore.Inspect(dir, id, obs.BuildVersion().Version)
	})
}

// Recover makes the node whose data is in a directory a cluster of its own, with a new history: for when most of the others are lost for good.
func Recover(dir string) (Remainder, error) {
	return onNode(dir, func(id protocol.NodeID) (raftstore.Recovery, error) {
		return raftstore.Recover(dir, raftstore.Rebuild{Node: id, Address: nowhere, Program: obs.BuildVersion().Version, Renew: state.RenewHistory})
	})
}

func onNode(dir string, do func(protocol.NodeID) (raftstore.Recovery, error)) (Remainder, error) {
	id, err := nodeOf(dir)
	if err != nil {
		return Remainder{}, err
	}
	r, err := do(id)
	all := Remainder{Node: string(id), Applied: r.Applied, Log: r.Log}
	for _, m := range r.Former {
		all.Members = append(all.Members, string(m.ID))
	}
	return all, err
}

// nodeOf is the node whose data is in a directory.
func nodeOf(dir string) (protocol.NodeID, error) {
	id, err := loadIdentity(filepath.Join(dir, identityDir))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: this is no data directory of a node that was part of a cluster", filepath.Join(dir, identityDir))
	}
	if err != nil {
		return "", err
	}
	return id.Node(), nil
}
