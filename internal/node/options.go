package node

import (
	"strings"
	"time"
)

// Option is one setting: it is a key of the file, an environment variable and a flag of `teamtalkd serve`.
type Option struct {
	Key     string // in the file, dots for nesting
	Flag    string // without the dashes
	Default string
	Help    string
	value   value
}

const envPrefix = "TEAMTALK_"

// envElsewhere are variables with our prefix that are no options.
func envElsewhere() []string { return []string{"TEAMTALK_CONFIG", "TEAMTALK_JOIN"} }

// Env is the environment variable.
func (o Option) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.Key, ".", "_"))
}

// Form says how the value is written.
func (o Option) Form() string { return o.value.form }

// Options is the table of all settings, in the order of the documentation.
func Options() []Option {
	var all []Option
	for _, group := range [][]Option{generalOptions(), listenOptions(), publicOptions(), tlsOptions(), limitsOptions(), passwordOptions(), otherOptions(), filesOptions()} {
		all = append(all, group...)
	}
	for i := range all {
		if all[i].Flag == "" {
			all[i].Flag = strings.NewReplacer(".", "-", "_", "-").Replace(all[i].Key)
		}
	}
	return all
}

func generalOptions() []Option {
	return []Option{
		{Key: "data", Default: "data", Help: "directory of everything that lasts; made if it is missing",
			value: text("a directory", func(c *Config) *string { return &c.Data })},
		{Key: "node.id", Default: "1", Help: "id of the first node of a cluster; the others get one when they join",
			value: word(func(c *Config) *string { return &c.Node.ID })},
		{Key: "node.name", Default: "", Help: "name of this node in logs; empty: the host name",
			value: text("a name", func(c *Config) *string { return &c.Node.Name })},
	}
}

func listenOptions() []Option {
	listen := func(key, flag, def, help string, at func(*Config) *Address) Option {
		return Option{Key: "listen." + key, Flag: flag, Default: def, Help: help, value: address(at)}
	}
	return []Option{
		listen("tcp", "tcp", ":8000", "native protocol, plain TCP: the port of the clients that exist today", func(c *Config) *Address { return &c.Listen.TCP }),
		listen("tls", "tls", ":8443", "TLS: native protocol, or all that listen.http has, as the client asks (ALPN)", func(c *Config) *Address { return &c.Listen.TLS }),
		listen("quic", "quic", ":8443", "UDP: the same over QUIC and HTTP/3", func(c *Config) *Address { return &c.Listen.QUIC }),
		listen("http", "http", ":8080", "plain HTTP: /msg_server, which clients ask first; WebSocket at /ws and long-poll at /lp", func(c *Config) *Address { return &c.Listen.HTTP }),
		listen("login", "login", "off", "native form of /msg_server (0x0101), on the legacy servers port 8008", func(c *Config) *Address { return &c.Listen.Login }),
		listen("files", "files", ":8600", "file transfer of the clients that exist today; newer ones need no port of its own for that", func(c *Config) *Address { return &c.Listen.Files }),
		listen("node", "node", ":7000", "the other nodes of the cluster, mutual TLS; off: this node stays alone", func(c *Config) *Address { return &c.Listen.Node }),
		listen("ops", "ops", "127.0.0.1:8090", "operation: /healthz, /readyz, /metrics for everybody; admin API and /debug/pprof with the admin token; keep it off public networks", func(c *Config) *Address { return &c.Listen.Ops }),
	}
}

func publicOptions() []Option {
	return []Option{
		{Key: "public.host", Default: "", Help: "name or address that clients are told to connect to; needed when listening on every address",
			value: host(func(c *Config) *string { return &c.Public.Host })},
		{Key: "public.node", Default: "", Help: "where the other nodes of the cluster reach this one; empty: public.host, or the address listened on, and the port of listen.node",
			value: endpoint(func(c *Config) *string { return &c.Public.Node })},
		{Key: "public.tcp_port", Default: "0", Help: "native TCP port that clients are told; 0: the port listened on",
			value: integer(0, 65535, func(c *Config) *uint16 { return &c.Public.TCPPort })},
		{Key: "public.http_port", Default: "0", Help: "HTTP port in URLs that clients are told; 0: the port listened on",
			value: integer(0, 65535, func(c *Config) *uint16 { return &c.Public.HTTPPort })},
		{Key: "public.tls_port", Default: "0", Help: "TLS port that clients are told; 0: the port listened on",
			value: integer(0, 65535, func(c *Config) *uint16 { return &c.Public.TLSPort })},
		{Key: "public.quic_port", Default: "0", Help: "UDP port that clients are told, and browsers as that of HTTP/3 (Alt-Svc); 0: the port listened on",
			value: integer(0, 65535, func(c *Config) *uint16 { return &c.Public.QUICPort })},
		{Key: "public.files_port", Default: "0", Help: "port of file transfer that clients are told; 0: the port listened on",
			value: integer(0, 65535, func(c *Config) *uint16 { return &c.Public.FilesPort })},
		{Key: "public.origins", Default: "", Help: "web sites besides this server's own whose pages may connect by /ws and /lp",
			value: list("origins such as `https://chat.example.com`, commas between", origin, func(c *Config) *[]string { return &c.Public.Origins })},
		{Key: "public.msfs", Default: "", Help: "base URL of the picture store that clients are told; empty: http://HOST:PORT/msfs/ of this server",
			value: httpURL(func(c *Config) *string { return &c.Public.MSFS })},
		{Key: "public.discovery", Default: "", Help: "URL of the page behind the clients' discovery tab; empty: http://HOST:PORT/ of this server",
			value: httpURL(func(c *Config) *string { return &c.Public.Discovery })},
		{Key: "trusted_proxies", Default: "", Help: "addresses of reverse proxies and load balancers in front of the TCP ports, whose X-Forwarded-For and PROXY headers (version 1 and 2) are believed",
			value: proxies()},
	}
}

func tlsOptions() []Option {
	return []Option{
		{Key: "tls.cert", Default: "", Help: "certificate of listen.tls and listen.quic: PEM, the server's own first; a changed file is taken up within 10 s",
			value: text("a file", func(c *Config) *string { return &c.TLS.Cert })},
		{Key: "tls.key", Default: "", Help: "key of tls.cert, PEM",
			value: text("a file", func(c *Config) *string { return &c.TLS.Key })},
		{Key: "tls.acme.domain", Default: "", Help: "name to obtain a certificate for, and renew it, without further ado; agrees to the authority's terms; listen.tls must be port 443 from outside",
			value: host(func(c *Config) *string { return &c.TLS.ACME.Domain })},
		{Key: "tls.acme.email", Default: "", Help: "where the authority writes when something is wrong; empty: nowhere",
			value: text("a mail address", func(c *Config) *string { return &c.TLS.ACME.Email })},
		{Key: "tls.acme.directory", Default: "", Help: "the authority; empty: Let's Encrypt",
			value: httpURL(func(c *Config) *string { return &c.TLS.ACME.Directory })},
		{Key: "tls.development", Default: "false", Help: "without another certificate, make one, signed by an authority of this node's own: DATA/tls/ca.pem, which clients have to be given",
			value: truth(func(c *Config) *bool { return &c.TLS.Development })},
	}
}

func limitsOptions() []Option {
	return []Option{
		{Key: "limits.rate", Flag: "rate", Default: "20", Help: "messages a second that a connection may send in the long run; more are executed later, none is dropped; 0: no limit",
			value: number(0, 1e6, func(c *Config) *float64 { return &c.Limits.Rate })},
		{Key: "limits.burst", Flag: "burst", Default: "60", Help: "messages that a connection may send at once before limits.rate holds it back",
			value: integer(1, 1e6, func(c *Config) *int { return &c.Limits.Burst })},
		{Key: "limits.max_connections", Flag: "max-connections", Default: "100000", Help: "sessions of this node; one more is told at its login that the server is full",
			value: integer(1, 10_000_000, func(c *Config) *int { return &c.Limits.MaxConnections })},
		{Key: "limits.unauthenticated", Flag: "unauthenticated", Default: "20000", Help: "connections that are not logged in, from all addresses together; one more is closed on arrival",
			value: integer(1, 10_000_000, func(c *Config) *int { return &c.Limits.Unauthenticated })},
		{Key: "limits.unauthenticated_per_address", Flag: "unauthenticated-per-address", Default: "1000", Help: "the same for one address, of IPv6 for a /64; those logged in, and those whose login waits its turn, do not count, for whole offices sit behind one address",
			value: integer(1, 10_000_000, func(c *Config) *int { return &c.Limits.UnauthenticatedPerAddress })},
		{Key: "limits.devices", Default: "10", Help: "sessions of one user over the session extension, on different devices; one more ends the one that has been idle longest",
			value: integer(1, 1000, func(c *Config) *int { return &c.Limits.Devices })},
		{Key: "limits.login_queue", Default: "20000", Help: "logins that may wait for their password to be checked; one more is told that the server is full",
			value: integer(1, 1_000_000, func(c *Config) *int { return &c.Limits.LoginQueue })},
		{Key: "limits.login_deadline", Flag: "login-deadline", Default: "15s", Help: "time in which a new connection has to log in; waiting in the queue does not count",
			value: duration(func(c *Config) *time.Duration { return &c.Limits.LoginDeadline })},
		{Key: "limits.idle_pc", Flag: "idle-pc", Default: "2m", Help: "silence after which a PC session ends; clients send a heartbeat every 30 s",
			value: duration(func(c *Config) *time.Duration { return &c.Limits.IdlePC })},
		{Key: "limits.idle_mobile", Flag: "idle-mobile", Default: "5m", Help: "silence after which a mobile session ends; clients send a heartbeat every 30 s (iOS) or 4 min (Android)",
			value: duration(func(c *Config) *time.Duration { return &c.Limits.IdleMobile })},
	}
}

func passwordOptions() []Option {
	return []Option{
		{Key: "password.argon2_memory", Default: "19MiB", Help: "memory of one argon2id run; a change holds for passwords set from then on",
			value: bytes(8<<10, 4<<30, func(c *Config) *ByteSize { return &c.Password.Argon2Memory })},
		{Key: "password.argon2_time", Default: "2", Help: "passes of one argon2id run",
			value: integer(1, 64, func(c *Config) *int { return &c.Password.Argon2Time })},
		{Key: "password.argon2_threads", Default: "1", Help: "threads of one argon2id run",
			value: integer(1, 255, func(c *Config) *int { return &c.Password.Argon2Threads })},
		{Key: "password.concurrent", Default: "0", Help: "passwords checked at once, which bounds memory, and processor time that chat does not get; 0: half as many as there are cores",
			value: integer(0, 1024, func(c *Config) *int { return &c.Password.Concurrent })},
		{Key: "password.remembered", Default: "100000", Help: "correct passwords, as keyed digests in memory, that cost no argon2id when they are used again; 0: each login costs one",
			value: integer(0, 1e7, func(c *Config) *int { return &c.Password.Remembered })},
		{Key: "password.failures", Default: "10", Help: "wrong passwords for one name from one address within password.failure_window before that address has to wait; others may go on logging in under that name",
			value: integer(1, 1e6, func(c *Config) *int { return &c.Password.Failures })},
		{Key: "password.failures_per_address", Default: "1000", Help: "the same over all names of one address",
			value: integer(1, 1e9, func(c *Config) *int { return &c.Password.FailuresPerAddress })},
		{Key: "password.failure_window", Default: "30m", Help: "time for which failures count",
			value: duration(func(c *Config) *time.Duration { return &c.Password.FailureWindow })},
	}
}

func otherOptions() []Option {
	return []Option{
		{Key: "store.min_free", Default: "64MiB", Help: "free space of the disk below which writes are refused; reads go on, and writes again when there is space",
			value: bytes(1<<20, 1<<50, func(c *Config) *ByteSize { return &c.Store.MinFree })},
		{Key: "store.forget_within", Default: "1h", Help: "time after which the text of a recalled or burned message is out of the raft log as well, at the latest",
			value: duration(func(c *Config) *time.Duration { return &c.Store.ForgetWithin })},
		{Key: "cluster.remove_dead_after", Default: "off", Help: "time out of reach after which a node is removed from the cluster, if the others keep a majority; it has to join anew then",
			value: durationOrOff(func(c *Config) *time.Duration { return &c.Cluster.RemoveDeadAfter })},
		{Key: "cluster.highest_level", Default: "0", Help: "level of features that this node may use, to be able to go back to the version before; what is above waits until no node is held any more, and then there is no way back; 0: all that the program knows",
			value: knownLevel(integer(0, 65535, func(c *Config) *int { return &c.Cluster.HighestLevel }))},
		{Key: "federation.endpoints", Default: "", Help: "where other clusters reach this one, by TLS, and by QUIC on the UDP port of the same number; empty: public.host and listen.tls of every node that is up",
			value: list("`host:port`, commas between", endpointText, func(c *Config) *[]string { return &c.Federation.Endpoints })},
		{Key: "federation.peer_rate", Default: "2000", Help: "events a second that are taken from another cluster in the long run; a minute's worth may come at once, what is above waits there; 0: no limit",
			value: number(0, 1e6, func(c *Config) *float64 { return &c.Federation.PeerRate })},
		{Key: "federation.user_rate", Default: "20", Help: "the same for what one user of another cluster sends; should not be less than limits.rate there; 0: no limit",
			value: number(0, 1e6, func(c *Config) *float64 { return &c.Federation.UserRate })},
		{Key: "messages.recall_window", Default: "2m", Help: "time for which an author may take a message back; a group's creator always may",
			value: duration(func(c *Config) *time.Duration { return &c.Messages.RecallWindow })},
		{Key: "log.level", Default: "info", Help: "least level that is logged",
			value: level()},
		{Key: "log.format", Default: "text", Help: "text: key=value, for eyes and journald; json: one object to a line, for collectors",
			value: oneOf(func(c *Config) *string { return &c.Log.Format }, "text", "json")},
		{Key: "shutdown.timeout", Default: "10s", Help: "time for answering what was read after SIGTERM; a second SIGTERM ends at once",
			value: duration(func(c *Config) *time.Duration { return &c.Shutdown.Timeout })},
	}
}

func option(key string) (Option, bool) {
	for _, o := range Options() {
		if o.Key == key {
			return o, true
		}
	}
	return Option{}, false
}

func optionKeys() []string {
	var keys []string
	for _, o := range Options() {
		keys = append(keys, o.Key)
	}
	return keys
}
