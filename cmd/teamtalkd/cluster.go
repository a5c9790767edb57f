package main

import (
	"context"
	"fmt"
	"time"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
	"teamtalk/protocol"
)

type clusterCmd struct {
	Status   clusterStatusCmd   `cmd:"" help:"Show all nodes: roles, how far they are, sessions, disk."`
	Token    clusterTokenCmd    `cmd:"" help:"Print a token that lets one more node join."`
	Remove   clusterRemoveCmd   `cmd:"" help:"Take a node out of the cluster for ever."`
	Transfer clusterTransferCmd `cmd:"" aliases:"transfer-leader" help:"Make another node the leader."`
	Drain    clusterDrainCmd    `cmd:"" help:"Send a node's clients to the other nodes, before it is stopped."`
	Snapshot clusterSnapshotCmd `cmd:"" help:"Have a node cut its log."`
	Recover  clusterRecoverCmd  `cmd:"" help:"Offline, when most nodes are lost for good: make one that is left a cluster of its own."`
}

type clusterStatusCmd struct {
	target
}

// Run shows the cluster.
func (c *clusterStatusCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		s, err := api.Cluster(ctx)
		if err != nil {
			return err
		}
		if err := c.answer(term, s, clusterTable(s)); err != nil || c.JSON {
			return err
		}
		if s.Leader == "" {
			term.say("no leader is known: nothing can be written at the moment\n")
		}
		term.say("%s", heldBack(s))
		for _, m := range s.Members {
			if m.Error != "" {
				term.say("%s: %s\n", m.ID, texttable.Printable(m.Error))
			}
		}
		return nil
	})
}

func clusterTable(s admin.ClusterStatus) texttable.Table {
	t := texttable.Table{{"ID", "NAME", "ADDRESS", "ROLE", "STATE", "TERM", "APPLIED", "COMMIT", "LAG", "SESSIONS", "FREE", "UPTIME", "RTT", "LEVEL", "VERSION"}}
	for _, m := range s.Members {
		row := []string{string(m.ID), "-", m.Address, m.Role, nodeState(m), "-", "-", "-", lagOf(m), "-", "-", "-", "-", "-", "-"}
		if m.RTTMillis > 0 {
			row[12] = fmt.Sprintf("%.1f ms", m.RTTMillis)
		}
		if r := m.Report; r != nil {
			row[1], row[13], row[14] = orDash(r.Name), levelOf(m), orDash(r.Version)
			row[5], row[6], row[7] = fmt.Sprint(r.Term), fmt.Sprint(r.Applied), fmt.Sprint(r.Commit)
			row[9], row[10] = fmt.Sprint(r.Sessions), sizeOf(r.FreeDisk)
			row[11] = (time.Duration(r.UptimeMS) * time.Millisecond).Round(time.Second).String()
		}
		t = append(t, row)
	}
	return t
}

// levelOf is which features a node uses, and which it may use if these are more.
func levelOf(m admin.ClusterMember) string {
	r := m.Report
	switch {
	case r == nil || r.Level == 0:
		return "-"
	case r.Level < r.HighestLevel:
		return fmt.Sprintf("%d of %d", r.Level, r.HighestLevel)
	}
	return fmt.Sprint(r.Level)
}

// heldBack says what keeps the cluster from using all that its nodes know.
func heldBack(s admin.ClusterStatus) string {
	if s.Level == s.HighestLevel {
		return ""
	}
	text := fmt.Sprintf("the cluster uses level %d, level %d waits until every node knows it:\n", s.Level, s.HighestLevel)
	for _, h := range s.HeldBack {
		text += fmt.Sprintf("  %s: %s\n", h.Node, texttable.Printable(h.Why))
	}
	if len(s.HeldBack) == 0 {
		return fmt.Sprintf("the cluster uses level %d; all nodes know level %d, and the leader is about to raise it\n", s.Level, s.HighestLevel)
	}
	return text
}

// nodeState is one word, or two, about what a node is doing.
func nodeState(m admin.ClusterMember) string {
	switch r := m.Report; {
	case !m.Reachable:
		return "unreachable"
	case r == nil:
		return "up, silent"
	case r.Receiving > 0 && r.ReceivingOf > 0:
		return fmt.Sprintf("receives %d %%", r.Receiving*100/r.ReceivingOf)
	case r.Receiving > 0:
		return "receives " + sizeOf(uint64(r.Receiving))
	case r.Drained:
		return "drained"
	case r.Draining:
		return "draining"
	}
	return "up"
}

func lagOf(m admin.ClusterMember) string {
	switch l := m.Lag; {
	case l == nil:
		return "-"
	case l.Millis == nil || l.Entries == 0:
		return fmt.Sprint(l.Entries)
	default:
		return fmt.Sprintf("%d (%d ms)", l.Entries, *l.Millis)
	}
}

func sizeOf(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(bytes), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

type clusterTokenCmd struct {
	target
	For time.Duration `default:"1h" placeholder:"TIME" help:"How long it is good for, 24h at most. [${default}]"`
}

// Run prints the token, and nothing else, on the standard output.
func (c *clusterTokenCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		token, err := api.JoinToken(ctx, c.For)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(term.out, token)
		}
		term.say("For one node, until %s; a secret until it is used. On the new machine: teamtalkd serve --join TOKEN\n", token.Expires.Local().Format(time.RFC1123))
		_, err = fmt.Fprintln(term.out, token.Token)
		return err
	})
}

type clusterRemoveCmd struct {
	target
	Force bool            `help:"Even if the nodes that are left are no majority: nothing can be written then until enough of them are back."`
	Node  protocol.NodeID `arg:"" name:"id" help:"Id of the node, as \"cluster status\" shows it."`
}

// Run removes the node.
func (c *clusterRemoveCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.RemoveNode(ctx, c.Node, c.Force); err != nil {
			return err
		}
		return c.said(term, fmt.Sprintf("node %s removed; to come back it has to join anew, with an empty data directory", c.Node))
	})
}

type clusterTransferCmd struct {
	target
	Node protocol.NodeID `arg:"" optional:"" name:"id" help:"Who is to lead; without it, any node that is up to date."`
}

// Run hands over the lead.
func (c *clusterTransferCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		leader, err := api.TransferLead(ctx, c.Node)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(term.out, admin.Leader{Leader: leader})
		}
		_, err = fmt.Fprintf(term.out, "node %s leads\n", leader)
		return err
	})
}

type clusterSnapshotCmd struct {
	target
	Node protocol.NodeID `arg:"" optional:"" name:"id" help:"Id of the node; without it, the one asked."`
}

// Run has the log cut.
func (c *clusterSnapshotCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.SnapshotNode(ctx, c.Node); err != nil {
			return err
		}
		return c.said(term, "log cut")
	})
}
