package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
)

// Mode says how messages follow each other to the server.
type Mode uint8

const (
	// Pipelined sends up to 64 messages ahead of their acks. Order is kept, with one exception: when the server puts off one message
	// (RATE_LIMITED, UNAVAILABLE), those already on their way may be stored before it.
	Pipelined Mode = iota
	// SendWait sends a message only after the ack of the one before, whatever conversation that was for. Order is always kept.
	SendWait
)

// Legacy says whether the client may speak the protocol without the session extension: no resume, no replay, and a message whose
// connection broke before its ack fails with ErrInterrupted, because a legacy server would store a repeat as another message.
type Legacy uint8

const (
	// LegacyOff speaks the session extension only; a server without it gives ErrNoHello.
	LegacyOff Legacy = iota
	// LegacyFallback says HELLO first; on plain TCP (tcp:// addresses), when the server ends the connection or is silent for 2 s instead
	// of answering, the next connection there goes without. What was found out is kept until the client is closed.
	LegacyFallback
	// LegacyOnly never says HELLO.
	LegacyOnly
)

// Defaults and bounds.
const (
	defaultOutbox = 1000
	pipelineAhead = 64 // messages sent ahead of their acks
	eventsBound   = 256
	eventsReserve = 4096 // while a call of the app waits for its answer
)

// Config is what a client needs to know. Addresses and either Name and Password or a Storage with a session are required.
type Config struct {
	// Addresses are tried as package dial says: "chat.example.com", "wss://chat.example.com", "tcp://10.0.0.1:8000" …
	Addresses []string
	// Name and Password log in when there is no session to resume. Without them only what Storage holds is tried.
	Name, Password string
	// Program and Version name the program to the server.
	Program, Version string
	// ClientType is the kind of client; zero: protocol.ClientTerminal. Legacy servers are told Windows for Web and Terminal.
	ClientType protocol.ClientType
	// Device names this installation, at most 64 bytes; empty: what Storage holds, else a new random one.
	Device protocol.DeviceID
	// TLS is the base of all TLS connections; nil: the system's authorities.
	TLS *tls.Config
	// Media is about pictures, voice messages and files.
	Media MediaConfig
	// Proxy says by which proxy a URL is reached; nil: as the environment says.
	Proxy func(*url.URL) (*url.URL, error)
	// AllowPlain also tries connections that are not encrypted, after all others.
	AllowPlain bool
	// Only restricts the transports; empty: all.
	Only []dial.Transport
	// Storage keeps the session; nil: it ends with the process, and what waits to be sent is lost with it.
	Storage Storage
	// Log gets what happens to the connection; nil: nothing. Never messages, passwords or tokens.
	Log *slog.Logger
	// Mode says how messages follow each other.
	Mode Mode
	// Legacy allows servers without the session extension.
	Legacy Legacy
	// OutboxSize bounds the messages that wait for their ack; 0: 1,000.
	OutboxSize int
	// TextKey is the key of message texts, 32 bytes; empty: that of all clients.
	TextKey string
	// OnEvent gets the events, one at a time, instead of the channel Events. It may make calls, but not Close or Logout.
	OnEvent func(*Client, Event)
	// Dialer replaces package dial; nil: dial.New of what is said above.
	Dialer Dialer
}

// MediaConfig is about pictures, voice messages and files.
type MediaConfig struct {
	// HTTP is the server's HTTP port: "https://chat.example.com". Empty: where Addresses and the server's endpoints are reached by WebSocket or long-poll.
	HTTP string
	// Plays are the MIME types of voice messages that the app can play; those of other types come as texts with a link [TT-MEDIA-4].
	Plays []string
}

// check fills in what was left out and refuses what makes no sense.
func (c *Config) check() error {
	if len(c.Addresses) == 0 && c.Dialer == nil {
		return errors.New("client: no address")
	}
	if c.Name == "" && c.Storage == nil {
		return errors.New("client: neither a name nor a storage with a session")
	}
	if (c.Name == "") != (c.Password == "") {
		return errors.New("client: name and password go together")
	}
	if len(c.Device) > protocol.MaxDeviceID {
		return fmt.Errorf("client: device id of %d bytes: at most %d", len(c.Device), protocol.MaxDeviceID)
	}
	if c.OutboxSize < 0 {
		return fmt.Errorf("client: outbox of %d messages", c.OutboxSize)
	}
	if c.Mode > SendWait || c.Legacy > LegacyOnly {
		return fmt.Errorf("client: mode %d, legacy %d: no such thing", c.Mode, c.Legacy)
	}
	c.fill()
	return nil
}

func (c *Config) fill() {
	if c.OutboxSize == 0 {
		c.OutboxSize = defaultOutbox
	}
	if c.ClientType == 0 {
		c.ClientType = protocol.ClientTerminal
	}
	if c.Program == "" {
		c.Program = "teamtalk-go"
	}
	if c.TextKey == "" {
		c.TextKey = crypt.DefaultKey
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// window is how many messages may be on their way.
func (c *Config) window() int {
	if c.Mode == SendWait {
		return 1
	}
	return pipelineAhead
}

// mayFallBack reports whether a server reached by r may be spoken to without HELLO.
func (c *Config) mayFallBack(r dial.Route) bool {
	return c.Legacy == LegacyFallback && r.Transport == dial.TCP && strings.HasPrefix(r.URL, "tcp://")
}
