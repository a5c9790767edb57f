package blobs

import (
	"fmt"
	"sync"

	"teamtalk/protocol"
)

// coming are the bytes of uploads that are on their way to this node, and of what is fetched from other offices: they take their room from the begin on, or any
// number of them would be let in that fit one by one. What other nodes take in is not known here: the log decides in the end.
type coming struct {
	mu  sync.Mutex // guards what follows
	of  map[protocol.UserID]uint64
	all uint64
}

// add counts bytes of a user, or of nobody. The caller holds the mutex.
func (c *coming) add(user protocol.UserID, size uint64) {
	if c.of == nil {
		c.of = map[protocol.UserID]uint64{}
	}
	c.of[user] += size
	c.all += size
}

// grow is add for what came without being announced.
func (c *coming) grow(user protocol.UserID, size uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(user, size)
}

// over takes back what was counted.
func (c *coming) over(user protocol.UserID, size uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all -= size
	if c.of[user] -= size; c.of[user] == 0 {
		delete(c.of, user)
	}
}

// Room is nil if an upload of that size would fit now, beside those that are on their way: CodeUnavailable, with ErrDiskFull inside, if the disk has no room for
// it, CodeQuota if its owner or the cluster has none, CodeForbidden if the cluster can't record any. What belongs to nobody, user 0, is bound by the quota of all only.
func (k *Keeper) Room(user protocol.UserID, size uint64) error { return k.room(user, size, func() {}) }

// reserve is Room, and takes the room until it is given back.
func (k *Keeper) reserve(user protocol.UserID, size uint64) error {
	return k.room(user, size, func() { k.space.coming.add(user, size) })
}

func (k *Keeper) room(user protocol.UserID, size uint64, take func()) error {
	if err := k.cfg.State.MayStore(); err != nil {
		return err
	}
	if err := k.space.check(size); err != nil {
		k.metrics.refused.WithLabelValues("disk_full").Inc()
		return err
	}
	k.space.coming.mu.Lock() // until it is taken: of two that don't fit together one has to see the other
	defer k.space.coming.mu.Unlock()
	err := k.weigh(user, size)
	if err == nil {
		take()
	}
	if protocol.CodeOf(err) == protocol.CodeQuota {
		k.metrics.refused.WithLabelValues("quota").Inc()
	}
	return err
}

// weigh compares with the quotas. The caller holds the mutex of what is coming, so that nothing that is being recorded is missing in both sums.
func (k *Keeper) weigh(user protocol.UserID, size uint64) error {
	if k.cfg.UserQuota == 0 && k.cfg.Quota == 0 {
		return nil
	}
	mine, all, err := k.cfg.State.BlobUsage(user)
	if err != nil {
		return fmt.Errorf("usage of blobs: %w", err)
	}
	mine, all = mine+k.space.coming.of[user], all+k.space.coming.all
	switch {
	case user != 0 && over(mine, size, k.cfg.UserQuota):
		return protocol.Errorf(protocol.CodeQuota, "no room for %d more bytes: %d of your %d are used, or are coming in", size, mine, k.cfg.UserQuota)
	case over(all, size, k.cfg.Quota):
		return protocol.Errorf(protocol.CodeQuota, "no room for %d more bytes: %d of %d are used by all together, or are coming in", size, all, k.cfg.Quota)
	}
	return nil
}

func over(used, more, quota uint64) bool {
	return quota != 0 && (used > quota || more > quota-used)
}
