package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"go.etcd.io/bbolt"

	"teamtalk/bus"
	"teamtalk/gateway"
	"teamtalk/internal/obs"
	"teamtalk/protocol"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
	"teamtalk/service/password"
)

// buildGateway makes the rules and what speaks to clients, and starts the delivery of events.
func (n *Node) buildGateway(context.Context) error {
	verifier, err := password.NewVerifier(password.Config{
		Params: password.Params{
			MemoryKiB: uint32(n.cfg.Password.Argon2Memory >> 10),
			Passes:    uint32(n.cfg.Password.Argon2Time),
			Lanes:     uint8(n.cfg.Password.Argon2Threads),
		},
		Concurrency:   n.concurrentPasswords(),
		MemoryEntries: n.rememberedPasswords(),
		Registerer:    n.registry,
	})
	if err != nil {
		return err
	}
	n.peering.passwords = newPasswords(verifier, n.peering.mesh.Load, n.registry)
	accounts, err := service.NewAccounts(service.AccountsConfig{
		Store: n.store, Verifier: verifier, Log: n.log, Registerer: n.registry,
		NameFailures:    n.cfg.Password.Failures,
		AddressFailures: n.cfg.Password.FailuresPerAddress,
		FailureWindow:   n.cfg.Password.FailureWindow,
	})
	if err != nil {
		return err
	}
	n.admin = service.NewAdmin(n.store, n.store, verifier)
	messages, err := service.NewMessages(n.store, service.MessageRules{RecallWindow: n.cfg.Messages.RecallWindow}).WithBlobs(n.store, "")
	if err != nil {
		return err
	}
	n.clients.media.node = n
	events, signals := n.bus.Subscribe("gateway"), n.bus.Signals("gateway")
	var displaced gateway.Displaced // nil: alone
	if n.peering.port != nil {
		subscription := n.bus.Presence().Displaced()
		n.steps.started("displaced sessions", func(context.Context) error { subscription.Close(); return nil })
		displaced = subscription
	}
	n.steps.started("subscriptions", func(context.Context) error {
		events.Close()
		signals.Close()
		return nil
	})
	n.gateway, err = gateway.New(gateway.Config{
		Services: gateway.Services{
			Accounts: accounts,
			Devices:  service.NewDevices(n.store),
			Buddies:  service.NewBuddies(n.store, nil).WithAbroad(n.abroad.manager),
			Messages: messages,
			Groups:   service.NewGroups(n.store).WithHubs(n.abroad.manager),
			Files:    service.NewFiles(n.store, n.transfers()),
			Sessions: service.NewSessions(n.store, nil),
		},
		FileAddresses: n.fileAddresses(),
		Replica:       n.store, Replay: n.store, Node: n.cfg.nodeName(), Domain: n.domain, Endpoints: n.endpoints, Media: &n.clients.media,
		Events: events, Signals: signals, Signaler: n.bus, Presence: n.bus.Presence(), Displaced: displaced,
		Limits: gateway.Limits{
			Connections:               n.cfg.Limits.MaxConnections,
			Unauthenticated:           n.cfg.Limits.Unauthenticated,
			UnauthenticatedPerAddress: n.cfg.Limits.UnauthenticatedPerAddress,
			SendsPerSecond:            n.cfg.Limits.Rate,
			SendBurst:                 n.cfg.Limits.Burst,
			DevicesPerUser:            n.cfg.Limits.Devices,
			ConcurrentLogins:          n.concurrentPasswords(),
			QueuedLogins:              n.cfg.Limits.LoginQueue,
		},
		Timing:     gateway.Timing{Login: n.cfg.Limits.LoginDeadline, IdlePC: n.cfg.Limits.IdlePC, IdleMobile: n.cfg.Limits.IdleMobile},
		Log:        n.log,
		Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	n.background("delivery of events", n.gateway.Run) // reads from the store
	return n.runBurner()
}

// runBurner has messages burned whose time has come until its step is stopped.
func (n *Node) runBurner() error {
	burner, err := service.NewBurner(service.BurnerConfig{Store: n.store, Log: n.log, Registerer: n.registry})
	if err != nil {
		return err
	}
	n.background("burning of messages", burner.Run)
	return nil
}

// background runs a part that may not end before its step is stopped, which its context tells it; the step waits for it.
func (n *Node) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ended and joined by the step below
		defer close(done)
		if err := run(ctx); ctx.Err() == nil {
			n.fail(fmt.Errorf("%s ended: %w", name, err))
		}
	}()
	n.steps.started(name, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// concurrentPasswords leaves half of the cores to those who are logged in: each check keeps one busy for tens of milliseconds.
func (n *Node) concurrentPasswords() int {
	if n.cfg.Password.Concurrent > 0 {
		return n.cfg.Password.Concurrent
	}
	return max(1, runtime.GOMAXPROCS(0)/2)
}

// rememberedPasswords is that number as package password wants it, where 0 means its own default.
func (n *Node) rememberedPasswords() int {
	if n.cfg.Password.Remembered == 0 {
		return -1
	}
	return n.cfg.Password.Remembered
}

// msgServer tells clients where to connect; called when the ports are known.
func (n *Node) msgServer() (*gateway.MsgServer, error) {
	c := gateway.MsgServerConfig{Host: n.publicHost(), MSFS: n.mediaBase(), Discovery: n.cfg.Public.Discovery,
		Availability: n.gateway.Availability, Nodes: n.natives, Log: n.log}
	c.Port = n.nativePort()
	if c.Discovery == "" {
		c.Discovery = n.httpBase()
	}
	return gateway.NewMsgServer(c)
}

// nativePort is the TCP port that clients are told; 0: there is none.
func (n *Node) nativePort() uint16 {
	if n.cfg.Public.TCPPort == 0 && n.sockets.tcp != nil {
		return portOf(n.sockets.tcp.Addr())
	}
	return n.cfg.Public.TCPPort
}

// publicHost is what clients connect to: what is configured, or the one address listened on.
func (n *Node) publicHost() string {
	if n.cfg.Public.Host != "" {
		return n.cfg.Public.Host
	}
	for _, at := range []Address{n.cfg.Listen.TCP, n.cfg.Listen.HTTP, n.cfg.Listen.Login} {
		if host, _, err := net.SplitHostPort(string(at)); err == nil {
			return unzoned(host)
		}
	}
	return ""
}

// unzoned is the address without an interface's name, which means nothing elsewhere.
func unzoned(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.WithZone("").String()
	}
	return host
}

// storeConfig is the store, over the node port if there is one.
func (n *Node) storeConfig() state.Config {
	c := raftstore.Config{
		Dir:       n.cfg.Data,
		NodeID:    raftstore.NodeID(n.cfg.Node.ID),
		Publisher: n.bus,
		Fatal: func(err error) {
			n.fail(fmt.Errorf("the store cannot go on: %w", n.cfg.explainLevel(n.explainDamage(err))))
		},
		Logger:     n.log,
		Registerer: n.registry,
		Version:    obs.BuildVersion().Version,
		ClusterName: func(tx *bbolt.Tx) (string, error) {
			c, err := state.ClusterOf(tx)
			return fmt.Sprintf("%x", c.ID), err
		},
		Tuning: raftstore.Tuning{DiskReserve: uint64(n.cfg.Store.MinFree), ForgetWithin: n.cfg.Store.ForgetWithin},
	}
	if n.peering.port != nil {
		n.peering.engage(&c, n.peering.port.RaftLayer(), n.log)
	}
	return state.Config{Config: c, HighestLevel: n.cfg.highestLevel()}
}

// busConfig is the bus, of one node among several if there is a port for them.
func (n *Node) busConfig() bus.Config {
	c := bus.Config{Registerer: n.registry, Log: n.log, Devices: n.cfg.Limits.Devices}
	if n.peering.port != nil {
		c.Node = protocol.NodeID(n.cfg.Node.ID)
	}
	return c
}
