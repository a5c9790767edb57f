package state

import (
	"crypto/rand"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// ClusterOf reads from a state file what the nodes of its cluster share; CodeNotFound before FoundCluster.
func ClusterOf(tx *bbolt.Tx) (c protocol.Cluster, err error) {
	t := &txn{tx: tx}
	if tx.Bucket([]byte(bMeta.name())) == nil {
		return c, notFound("the cluster is not founded yet")
	}
	found, err := t.readRow(bMeta, []byte(metaCluster), &c)
	if err == nil && !found {
		err = notFound("the cluster is not founded yet")
	}
	return c, err
}

// RenewHistory begins a new history of the cluster in a state file: what cursors of before meant may not have happened in it, so their clients
// get GAP [TT-SESS-5]. For what goes on alone after the majority was lost.
func RenewHistory(tx *bbolt.Tx) error {
	// Behind the state there may be more in the log, which is still of the former history.
	if t := (&txn{tx: tx}); tx.Bucket([]byte(bMeta.name())) != nil {
		if err := t.setNumber(metaRenewed, uint64(protocol.TimeOf(time.Now()))); err != nil {
			return err
		}
	}
	return renew(tx, func(c *protocol.Cluster) [][]byte { return [][]byte{c.History[:]} })
}

// RenewCluster does so for a backup that becomes a cluster of its own: resume tokens of the other one are worth nothing in it [TT-SESS-6], and
// neither are the certificates of its nodes.
func RenewCluster(tx *bbolt.Tx) error {
	if t := (&txn{tx: tx}); tx.Bucket([]byte(bMeta.name())) != nil {
		if err := t.setNumber(metaRenewed, 0); err != nil {
			return err
		}
	}
	return renew(tx, func(c *protocol.Cluster) [][]byte {
		c.NodeCert, c.NodeKey, c.JoinKey = "", "", [32]byte{}
		return [][]byte{c.History[:], c.TokenKey[:]}
	})
}

// renew fills the secrets that change names anew. A state that was never founded needs none of it.
func renew(tx *bbolt.Tx, change func(*protocol.Cluster) [][]byte) error {
	c, err := ClusterOf(tx)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	for _, secret := range change(&c) {
		if _, err := rand.Read(secret); err != nil {
			return fmt.Errorf("a new history: %w", err)
		}
	}
	t := &txn{tx: tx}
	return t.putRow(bMeta, []byte(metaCluster), c)
}
