package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
)

// Services are the rules that requests are carried out by.
type Services struct {
	Accounts Accounts
	Devices  Devices
	Buddies  Buddies
	Messages Messages
	Groups   Groups
	Files    Files
	Sessions Sessions
}

// Events is the gateway's subscription to what happens, in log order.
type Events interface {
	// Next waits for events; a protocol.Jumped among them means that some are missing.
	Next(ctx context.Context) ([]protocol.Event, error)
}

// Signals is the gateway's subscription to what is ephemeral.
type Signals interface {
	Next(ctx context.Context) ([]protocol.Signal, error)
}

// Signaler tells all nodes, this one included.
type Signaler interface {
	Signal(sig protocol.Signal)
}

// Presence is the table of who is connected anywhere in the cluster.
type Presence interface {
	// Join files a session of this node, in place of others of the same user here. Whom it displaces in the cluster, Displaced tells their nodes.
	Join(s protocol.LiveSession, instead ...protocol.ConnID)
	// Leave takes a session of this node off the table, if it is there.
	Leave(u protocol.UserID, c protocol.ConnID)
	// Touched notes that a session of this node has asked for something.
	Touched(u protocol.UserID, c protocol.ConnID)
	// AwaitFormer waits until no node that can be reached has an older session of the device than that of connection c here. The error is that of ctx.
	AwaitFormer(ctx context.Context, u protocol.UserID, d protocol.DeviceID, c protocol.ConnID) error
	PCOnline(u protocol.UserID) bool
	// Shown reports whether clients were last told that the user is online; a node alone does not keep that.
	Shown(u protocol.UserID) bool
}

// Displaced is the gateway's subscription to the sessions of this node that others in the cluster displace.
type Displaced interface {
	Next(ctx context.Context) ([]protocol.DisplacedSession, error)
}

// Replica is this node's copy of the replicated log.
type Replica interface {
	// Applied is how far it has been carried out here; its events may not all have been published yet.
	Applied() protocol.Cursor
	WaitApplied(ctx context.Context, c protocol.Cursor) error
	// Head is the end of the log here, which is that of the cluster's if this node leads.
	Head() (head protocol.Cursor, isLeader bool)
	// Ready says why nothing can be written now; nil: it can.
	Ready() error
}

// Replay reads what happened.
type Replay interface {
	// EventsAfter returns events that concern a user, in log order and whole entries, and where to go on: limit and some, or all there are.
	EventsAfter(me protocol.UserID, after protocol.Cursor, limit int) (events []protocol.Event, next protocol.Cursor, err error)
	// Replayable reports whether what followed a cursor is still there, and is not too much.
	Replayable(me protocol.UserID, after protocol.Cursor) (bool, error)
}

// Config is what a Server is made of. All parts are required, except where a nil or zero value is explained.
type Config struct {
	Services Services
	Events   Events
	Signals  Signals
	Signaler Signaler
	Presence Presence
	Replica  Replica
	Replay   Replay
	// Displaced is who must go because of logins on any node; nil: this node is alone, and decides that by itself.
	Displaced Displaced

	Node      string          // name of this node, for extended clients
	Domain    func() string   // of this cluster's addresses, empty as long as it has none; must not wait. nil: none [TT-FED-2]
	Endpoints func() []string // URLs that extended clients may connect to; nil: none are told

	Limits Limits
	Timing Timing
	// FileAddresses are those of the transfer service; empty as long as there is none.
	FileAddresses []protocol.FileAddress
	Media         Media // addresses of content; nil: there are none [TT-MEDIA-1]
	// TextKey is the key of message texts, 32 bytes as in all clients; empty: the clients' default.
	TextKey string

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Limits bound what clients may use. Zero values mean the default given, unless said otherwise.
type Limits struct {
	Connections               int     // logged in, 100,000 [TT-LOGIN-12]
	Unauthenticated           int     // not logged in, all together, 20,000
	UnauthenticatedPerAddress int     // 1,000 [TT-LIMIT-2]; logins that wait their turn count in neither
	ConcurrentLogins          int     // passwords checked at the same time; half of GOMAXPROCS, so that everybody else finds a processor
	QueuedLogins              int     // logins that wait for that, 20,000 [TT-QUEUE-1]
	SendsPerSecond            float64 // messages of one connection; 0: no limit [TT-LIMIT-1]
	SendBurst                 int     // messages at once; 60
	Parked                    int     // messages that wait for the rate, 256 [TT-LIMIT-1]
	ParkedBytes               int     // 1 MiB
	InFlight                  int     // messages of one connection on their way through the log, 64
	InFlightBytes             int     // 1 MiB
	QueueBytes                int     // of pushes, and again of answers, that wait for a connection, 256 KiB [TT-LIMIT-3] [TT-SESS-16]
	DevicesPerUser            int     // live extended sessions of one user, 10 [TT-SESS-8]; in a cluster the table of all nodes decides, by a limit of its own
}

// Timing holds the times the protocol gives. Zero values mean the default given.
type Timing struct {
	Login         time.Duration // from the connection to the login, 15 s [TT-LOGIN-2]
	IdlePC        time.Duration // without a PDU, 120 s [TT-HB-2]
	IdleMobile    time.Duration // without a PDU, 300 s [TT-HB-2]
	KickGrace     time.Duration // until a kicked connection is closed, 3 s [TT-KICK-2]
	OfflineGrace  time.Duration // until a user without a PC session is said to be offline, 3 s [TT-PRES-2]
	Flush         time.Duration // for the last bytes of a connection, and for the client to read them, 2 s
	PresenceEvery time.Duration // between two rounds of presence, 100 ms
	JumpPace      time.Duration // between two connections ended after a jump, 1 ms
	Drain         time.Duration // that extended clients have to go elsewhere when told to, in whole seconds, 10 s
	ResendWindow  time.Duration // in which a repeated message is recognised, 10 s [TT-MSG-6]
	RetryFor      time.Duration // how long a message of unknown outcome is proposed again, 10 s
}

func (c Config) complete() (Config, error) {
	for name, part := range map[string]any{"Accounts": c.Services.Accounts, "Devices": c.Services.Devices, "Buddies": c.Services.Buddies,
		"Messages": c.Services.Messages, "Groups": c.Services.Groups, "Files": c.Services.Files, "Sessions": c.Services.Sessions,
		"Replica": c.Replica, "Replay": c.Replay, "Events": c.Events, "Signals": c.Signals,
		"Signaler": c.Signaler, "Presence": c.Presence} {
		if part == nil {
			return c, fmt.Errorf("gateway: %s is missing", name)
		}
	}
	if c.TextKey == "" {
		c.TextKey = crypt.DefaultKey
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Limits.complete()
	c.Timing.complete()
	if c.Displaced != nil {
		c.Limits.DevicesPerUser = 0
	}
	return c, nil
}

func (l *Limits) complete() {
	orDefault(&l.Connections, 100_000)
	orDefault(&l.Unauthenticated, 20_000)
	orDefault(&l.UnauthenticatedPerAddress, 1_000)
	orDefault(&l.ConcurrentLogins, max(1, runtime.GOMAXPROCS(0)/2))
	orDefault(&l.QueuedLogins, 20_000)
	orDefault(&l.SendBurst, 60)
	orDefault(&l.Parked, 256)
	orDefault(&l.ParkedBytes, 1<<20)
	orDefault(&l.InFlight, 64)
	orDefault(&l.InFlightBytes, 1<<20)
	orDefault(&l.QueueBytes, 256<<10)
	orDefault(&l.DevicesPerUser, 10)
}

func (t *Timing) complete() {
	orDefault(&t.Login, 15*time.Second)
	orDefault(&t.IdlePC, 120*time.Second)
	orDefault(&t.IdleMobile, 300*time.Second)
	orDefault(&t.KickGrace, 3*time.Second)
	orDefault(&t.OfflineGrace, 3*time.Second)
	orDefault(&t.Flush, 2*time.Second)
	orDefault(&t.PresenceEvery, 100*time.Millisecond)
	orDefault(&t.JumpPace, time.Millisecond)
	orDefault(&t.Drain, 10*time.Second)
	orDefault(&t.ResendWindow, 10*time.Second)
	orDefault(&t.RetryFor, 10*time.Second)
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
