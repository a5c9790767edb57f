package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// GrowthResult is what it takes to make a cluster out of a node that has a long history, and to make a copy of that.
type GrowthResult struct {
	// Messages were stored through the front door of one node, at Rate a second; its data directory then had DataBytes.
	Messages  int     `json:"messages"`
	Rate      float64 `json:"stored_per_s"`
	DataBytes int64   `json:"data_bytes"`

	Joins   []JoinRow   `json:"joins"`
	Backups []BackupRow `json:"backups,omitempty"`
}

// JoinRow is a node that joined.
type JoinRow struct {
	Node string `json:"node"`
	// Seconds is from the start of its process until it voted and was at most 200 log entries behind.
	Seconds float64 `json:"seconds"`
	// Received is how many bytes the others sent it.
	Received float64 `json:"received_bytes"`
	// The most memory that the leader had meanwhile, and the new node ever.
	LeaderBefore int64 `json:"leader_rss_before"`
	LeaderPeak   int64 `json:"leader_rss_peak"`
	Peak         int64 `json:"peak_rss"`
}

// BackupRow is a copy of the state that was made while others chatted.
type BackupRow struct {
	From    string         `json:"from"`
	Seconds float64        `json:"seconds"`
	Bytes   int64          `json:"bytes"`
	Before  *MessageResult `json:"bystanders_before"`
	During  *MessageResult `json:"bystanders_during"`
}

const (
	fillPairs  = 512
	fillWindow = 16
	fillLimit  = 15 * time.Minute
	// bystanderPairs chat while a backup is made.
	bystanderPairs = 8
	bystandBefore  = 3 * time.Second
)

// benchGrowth fills one node, has two more join it, and makes backups.
func benchGrowth(ctx context.Context, c *servers, o ClusterOptions, out *ClusterResult, say func(string, ...any)) error {
	g := &GrowthResult{Messages: o.Stored}
	say("storing %d messages", o.Stored)
	m, err := PairsOver(ctx, c.targets(), fillPairs, MessageOptions{Window: fillWindow, Payload: o.Payload, Duration: fillLimit, Count: o.Stored, Drain: time.Minute})
	if err != nil {
		return err
	}
	if err := m.Verdict(); err != nil {
		return err
	}
	if m.Acked != o.Stored {
		return fmt.Errorf("only %d of %d messages were stored within %v", m.Acked, o.Stored, fillLimit)
	}
	g.Rate = m.AckedPerSecond
	if g.DataBytes, err = dirSize(filepath.Join(c.members[0].dir, "data")); err != nil {
		return err
	}
	for len(c.members) < clusterSize {
		say("node %d joins", len(c.members)+1)
		row, err := c.watchJoin(ctx)
		if err != nil {
			return fmt.Errorf("node %d joins: %w", len(c.members)+1, err)
		}
		g.Joins = append(g.Joins, row)
	}
	out.Growth = g
	if !o.wants(partBackup) {
		return nil
	}
	leader, followers, err := c.roles(ctx)
	if err != nil {
		return err
	}
	for i, m := range []*member{leader, followers[0]} {
		from := roleNames(i)
		say("backup of %s", from)
		row, err := c.backup(ctx, m, from)
		if err != nil {
			return fmt.Errorf("backup of %s: %w", from, err)
		}
		g.Backups = append(g.Backups, row)
	}
	return nil
}

// watchJoin has one more node join.
func (c *servers) watchJoin(ctx context.Context) (row JoinRow, err error) {
	leader := c.members[0]
	if row.LeaderBefore, err = residentMemory(leader.PID()); err != nil {
		return row, err
	}
	over, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakMemory(leader.PID(), over) }() // until over
	began := time.Now()
	m, err := c.join(ctx)
	row.Seconds = time.Since(began).Seconds()
	close(over)
	row.LeaderPeak = <-peak
	if err != nil {
		return row, err
	}
	row.Node = m.id
	if row.Peak, err = peakResident(m.PID()); err != nil {
		return row, err
	}
	has, err := m.counters(ctx)
	row.Received = has.sum(peerBytes, `direction="in"`)
	if err == nil && row.Received == 0 {
		err = errors.New("the node does not say how much it received")
	}
	return row, err
}

// backup has one node make a copy of its state, which is written to the disk, while pairs chat all over the cluster.
func (c *servers) backup(ctx context.Context, m *member, from string) (row BackupRow, err error) {
	nodes := c.targets()
	conns, err := connectEach(ctx, 2*bystanderPairs, func(i int) Target { return nodes[placeInPair(i)%len(nodes)] })
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, closeAll(conns)) }()
	row.From = from
	row.Before = bystand(ctx, conns, bystandBefore, nil)
	over, during := make(chan struct{}), make(chan *MessageResult)
	go func() { during <- bystand(ctx, conns, fillLimit, over) }() // until over
	err = row.copy(ctx, m, filepath.Join(c.dir, "backup"))
	close(over)
	row.During = <-during
	return row, errors.Join(err, row.Before.Verdict(), row.During.Verdict())
}

func (r *BackupRow) copy(ctx context.Context, m *member, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	began := time.Now()
	err = errors.Join(m.ask(ctx, http.MethodGet, "/api/v1/cluster/backup", f), f.Sync())
	r.Seconds = time.Since(began).Seconds()
	if info, failed := f.Stat(); failed == nil {
		r.Bytes = info.Size()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}
