package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is everything an operator can set, in one tree. Default makes one with the defaults, Load one from a file,
// the environment and flags; the options table (options.go) documents every field.
type Config struct {
	Data       string // directory of everything that lasts
	Node       NodeConfig
	Listen     ListenConfig
	Public     PublicConfig
	TLS        TLSConfig
	Limits     LimitsConfig
	Password   PasswordConfig
	Store      StoreConfig
	Messages   MessagesConfig
	Files      FilesConfig
	Cluster    ClusterConfig
	Federation FederationConfig
	Log        LogConfig
	Shutdown   ShutdownConfig
	Proxies    Proxies    // whose word about a client's address counts
	Demo       DemoConfig // not an option: `teamtalkd dev` sets it
	Join       string     // not an option: the token of --join

	origins map[string]Origin // by key; a key that is not here has its default
}

// NodeConfig names this node.
type NodeConfig struct {
	ID   string // raft id: unique in the cluster, never reused
	Name string // for logs; empty: the host name
}

// ListenConfig holds the listen addresses: host:port, port 0 for any free one, "off" for none.
type ListenConfig struct {
	TCP, TLS, QUIC, HTTP, Login, Files, Node, Ops Address
}

// PublicConfig is what clients are told.
type PublicConfig struct {
	Host      string   // empty: the listen address, which then must not be a wildcard
	Node      string   // host:port that other nodes reach this one by; empty: the host, and the port listened on
	TCPPort   uint16   // 0: the port listened on
	HTTPPort  uint16   // 0: the port listened on
	TLSPort   uint16   // 0: the port listened on
	QUICPort  uint16   // 0: the port listened on
	FilesPort uint16   // 0: the port listened on
	Origins   []string // of web pages of other sites that may connect
	MSFS      string   // base URL of the picture store; empty: http://host:http port/msfs/
	Discovery string   // URL of the page behind the client's discovery tab
}

// TLSConfig says where the certificate of listen.tls and listen.quic comes from: files before ACME before development.
type TLSConfig struct {
	Cert, Key   string // PEM files
	ACME        ACMEConfig
	Development bool // a certificate authority of this node's own
}

// ACMEConfig is about a certificate that is obtained and renewed without the operator.
type ACMEConfig struct {
	Domain    string
	Email     string
	Directory string // URL of the authority; empty: Let's Encrypt
}

// LimitsConfig bounds what clients can do.
type LimitsConfig struct {
	Rate                      float64 // messages a second and connection, 0 for no limit
	Burst                     int     // messages at once
	MaxConnections            int
	Unauthenticated           int
	UnauthenticatedPerAddress int
	Devices                   int // live extended sessions of one user
	LoginQueue                int // logins that wait for their turn
	LoginDeadline             time.Duration
	IdlePC                    time.Duration
	IdleMobile                time.Duration
}

// PasswordConfig says how passwords are stored and checked.
type PasswordConfig struct {
	Argon2Memory  ByteSize
	Argon2Time    int // passes
	Argon2Threads int
	Concurrent    int // verifications at once; 0: half of the cores
	Remembered    int // verified passwords that need not be checked by argon2id again; 0: none

	Failures           int // of one name from one address
	FailuresPerAddress int
	FailureWindow      time.Duration
}

// StoreConfig is about the data directory.
type StoreConfig struct {
	MinFree      ByteSize      // writes are refused below
	ForgetWithin time.Duration // until deleted content is out of the raft log
}

// MessagesConfig holds rules of messages.
type MessagesConfig struct {
	RecallWindow time.Duration // in which an author may take a message back
}

// FilesConfig is about pictures, voice messages and files.
type FilesConfig struct {
	Dir          string        // empty: blobs in the data directory
	MaxUpload    ByteSize      // of one picture, voice message or file sent by HTTP
	MaxFile      ByteSize      // of one file sent by the legacy file transfer, at most 4 GiB - 1
	Quota        ByteSize      // of all; 0: none
	UserQuota    ByteSize      // of one user's; 0: none
	Retention    time.Duration // after which everything goes; 0: never
	Unused       time.Duration // after which goes what nothing shows; 0: never
	LegacyAccess string        // for requests that are not signed: session, open or off
	S3           S3Config
}

// S3Config is a store with the S3 interface that all nodes share.
type S3Config struct {
	Endpoint      string // host:port; empty: each node has its own disk
	Bucket        string
	Region        string
	AccessKeyFile string
	SecretKeyFile string
	Prefix        string // of the names of objects
	TLS           bool
}

// ClusterConfig is about the other nodes.
type ClusterConfig struct {
	RemoveDeadAfter time.Duration // 0: never
	HighestLevel    int           // of features that this node may use; 0: all it knows
}

// FederationConfig is about other clusters.
type FederationConfig struct {
	Endpoints []string // host:port at which they reach this one; none: the TLS ports of its nodes
	PeerRate  float64  // events a second that are taken from one of them, 0 for no limit
	UserRate  float64  // of one user there, 0 for no limit
}

// LogConfig says what is logged and in which form.
type LogConfig struct {
	Level  slog.Level
	Format string // text or json
}

// ShutdownConfig is about leaving.
type ShutdownConfig struct {
	Timeout time.Duration // for answering what was read
}

// Address is a listen address: "host:port", or empty for none.
type Address string

// Off reports whether there is nothing to listen on.
func (a Address) Off() bool { return a == "" }

// String is the address, or "off".
func (a Address) String() string {
	if a.Off() {
		return "off"
	}
	return string(a)
}

// Wildcard reports whether the address means every interface of the machine.
func (a Address) Wildcard() bool {
	host, _, err := net.SplitHostPort(string(a))
	if err != nil {
		return false
	}
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}

// ByteSize is a number of bytes.
type ByteSize uint64

// String is the size in the largest unit that divides it.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatUint(uint64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// Origin says where a value came from: "default", "file:line", an environment variable or a flag.
type Origin string

const originDefault Origin = "default"

// Sources is where Load looks, later ones winning.
type Sources struct {
	File    string            // YAML; empty for none
	Environ []string          // as os.Environ; nil for none
	Flags   map[string]string // by key
	// Defaults replaces defaults of the table, by key (dev has other ones than serve).
	Defaults map[string]string
}

// Default is the configuration with every option at its default.
func Default() *Config {
	c := &Config{origins: map[string]Origin{}}
	for _, o := range Options() {
		if err := o.value.set(c, o.Default); err != nil {
			panic("default of " + o.Key + ": " + err.Error()) // a mistake in the table, found by the first test
		}
	}
	return c
}

// Load reads the configuration: flag before environment before file before default. An error holds every problem found,
// one to a line, each saying where it is and what to do; warnings are for the log.
func Load(src Sources) (c *Config, warnings []string, err error) {
	c = Default()
	var problems []error
	for key, text := range src.Defaults {
		if err := c.Set(key, text, originDefault); err != nil {
			problems = append(problems, err)
		}
	}
	if src.File != "" {
		problems = append(problems, c.readFile(src.File)...)
	}
	more, warnings := c.readEnviron(src.Environ)
	problems = append(problems, more...)
	for _, o := range Options() {
		if text, ok := src.Flags[o.Key]; ok {
			if err := c.Set(o.Key, text, Origin("--"+o.Flag)); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, warnings, err
	}
	return c, warnings, nil
}

// Set gives one option its value; from names the place in errors.
func (c *Config) Set(key, text string, from Origin) error {
	o, ok := option(key)
	if !ok {
		return fmt.Errorf("%s: unknown key %q%s", from, key, suggest(key, optionKeys()))
	}
	if err := o.value.set(c, text); err != nil {
		return fmt.Errorf("%s: %s: %w", from, key, err)
	}
	if from != originDefault {
		c.origins[key] = from
	}
	return nil
}

// Origin tells where the value of a key came from.
func (c *Config) Origin(key string) Origin {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return originDefault
}

// Show is the value of a key in the form in which it is written in the file; empty for an unknown key.
func (c *Config) Show(key string) string {
	o, ok := option(key)
	if !ok {
		return ""
	}
	return o.value.show(c)
}

func (c *Config) readEnviron(environ []string) (problems []error, warnings []string) {
	names := make(map[string]Option)
	var all []string
	for _, o := range Options() {
		names[o.Env()] = o
		all = append(all, strings.TrimPrefix(o.Env(), envPrefix)) // compared without what all have in common
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if text == "" || !strings.HasPrefix(name, envPrefix) || slices.Contains(envElsewhere(), name) {
			continue
		}
		o, ok := names[name]
		if !ok {
			// Not an error: Kubernetes puts variables such as TEAMTALK_PORT into the pods beside a service called teamtalk.
			warnings = append(warnings, fmt.Sprintf("environment variable %s is not known and ignored%s", name,
				strings.Replace(suggest(strings.TrimPrefix(name, envPrefix), all), `"`, `"`+envPrefix, 1)))
			continue
		}
		if err := c.Set(o.Key, text, Origin(name)); err != nil {
			problems = append(problems, err)
		}
	}
	return problems, warnings
}

// CheckPublic refuses a configuration that would tell clients to connect to no address in particular.
func (c *Config) CheckPublic() error {
	if c.Public.Host != "" {
		return nil
	}
	for _, l := range []struct {
		key, flag string
		at        Address
	}{{"listen.tcp", "tcp", c.Listen.TCP}, {"listen.http", "http", c.Listen.HTTP}, {"listen.login", "login", c.Listen.Login}} {
		if l.at.Wildcard() {
			return fmt.Errorf("%s is %s, which is every address of this machine, and public.host is not set: "+
				"set public.host to the name or address clients connect to (--public-host chat.example.com), or listen on one address (--%s 192.0.2.7:8000)",
				l.key, l.at, l.flag)
		}
	}
	return nil
}

// checkPort refuses a configuration that has no port to tell clients.
func (c *Config) checkPort() error {
	if !c.Listen.TCP.Off() || c.Public.TCPPort != 0 || c.Listen.HTTP.Off() && c.Listen.Login.Off() {
		return nil
	}
	return errors.New("listen.tcp is off, so there is no port to tell the clients that ask at listen.http and listen.login: " +
		"set public.tcp_port, or turn these two off as well")
}

// checkTLS refuses a configuration that has TLS ports but nothing to show there.
func (c *Config) checkTLS() error {
	key := "listen.tls"
	if c.Listen.TLS.Off() {
		key = "listen.quic"
	}
	t := c.TLS
	switch {
	case c.Listen.TLS.Off() && c.Listen.QUIC.Off():
		return nil
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("tls.cert and tls.key belong together: set both, or neither")
	case t.Cert != "" && t.ACME.Domain != "":
		return errors.New("tls.cert and tls.acme.domain are both set: keep one")
	case t.ACME.Domain != "" && c.Listen.TLS.Off():
		return errors.New("tls.acme.domain needs listen.tls, where the authority checks the name (as port 443 from outside)")
	case t.Cert == "" && t.ACME.Domain == "" && !t.Development:
		return fmt.Errorf("%s is on and there is no certificate: set tls.cert and tls.key to its files; or tls.acme.domain, to obtain one from Let's Encrypt; "+
			"or tls.development: true, to try things out; or turn TLS off (listen.tls: \"off\", listen.quic: \"off\")", key)
	}
	return nil
}

// nodeName is the name for logs.
func (c *Config) nodeName() string {
	if c.Node.Name != "" {
		return c.Node.Name
	}
	if h, err := os.Hostname(); err == nil {
		return h
	}
	return "node" + c.Node.ID
}
