package archtest

import "slices"

// ImportTable is the import rules of this module: a package per row, and why it is there. In short:
//
//	cmd → internal/node → { gateway → gateway/transport → protocol/pdu ; service ; bus ; federation ; raftstore } → protocol → std
//	client → client/dial → protocol/pdu → protocol
//
// Inside the braces packages do not import each other: each declares the small interfaces it needs, and they meet in
// internal/node.
func ImportTable() Table {
	return Table{
		Everyone: []string{"protocol"},
		Tests: []string{"pgregory.net/rapid", "go.uber.org/goleak", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal",
			"golang.org/x/tools/txtar", "github.com/johannesboyne/gofakes3", sync, cells},
		Depth: 6, // cmd/teamtalk, by way of the view and the model of its screen, to the wire messages
		Rows:  slices.Concat(serverRows(), otherRows()),
	}
}

// Modules that several packages may import.
const (
	raft  = "github.com/hashicorp/raft"
	proto = "google.golang.org/protobuf"
	prom  = "github.com/prometheus/client_golang"
	bolt  = "go.etcd.io/bbolt"
	cbor  = "github.com/fxamacker/cbor/v2"
	kong  = "github.com/alecthomas/kong"
	sync  = "golang.org/x/sync"
	sys   = "golang.org/x/sys"
	cells = "github.com/rivo/uniseg"
	tty   = "github.com/gdamore/tcell/v2"
)

// serverRows are the protocol and the server.
func serverRows() []Row {
	return []Row{
		{Dir: "protocol", Why: "the words everybody shares: ids, records, commands, events, errors; no I/O"},
		{Dir: "protocol/pb", Why: "generated wire messages", Modules: []string{proto}},
		{Dir: "protocol/pb/sessionpb", Why: "generated wire messages of the session extension", Modules: []string{proto}},
		{Dir: "protocol/pb/chatpb", Why: "generated wire messages of the chat extension", Modules: []string{proto}},
		{Dir: "protocol/pdu", Why: "framing and the command table", Imports: []string{"protocol/pb/..."}, Modules: []string{proto}},
		{Dir: "protocol/crypt", Why: "the cipher of message texts"},
		{Dir: "protocol/fed", Why: "the words of federation: names beyond a cluster, events, signatures, frames", Modules: []string{cbor}},

		{Dir: "bus", Why: "tells this node's parts what happened, in log order", Imports: []string{"internal/obs"}, Modules: []string{prom, cbor}},
		{Dir: "gateway", Why: "client sessions: PDUs to rules and events to PDUs",
			Imports: []string{"gateway/transport", "protocol/...", "internal/obs"}, Modules: []string{proto, prom, "golang.org/x/time", sync},
			TestImports: []string{"bus", "gateway/transport/ws", "gateway/transport/transporttest"}},
		{Dir: "gateway/transport", Why: "connections that carry PDUs, whatever the network",
			Imports: []string{"protocol/pdu", "internal/obs"}, Modules: []string{prom, sys, sync, "github.com/pires/go-proxyproto"}},
		{Dir: "gateway/transport/transporttest", Why: "the promises of transport.Conn as tests for every transport",
			Imports: []string{"gateway/transport", "protocol/pdu"}},
		{Dir: "gateway/transport/tlscert", Why: "the server's certificates: files, ACME, development",
			Modules: []string{prom, "github.com/caddyserver/certmagic", "go.uber.org/zap"}},
		{Dir: "gateway/transport/tlsport", Why: "one TLS port for native clients and HTTP", Imports: []string{"gateway/transport"},
			Modules: []string{prom}, TestImports: []string{"gateway/transport/transporttest", "protocol/pdu"}},
		{Dir: "gateway/transport/ws", Why: "PDUs over WebSocket", Imports: []string{"gateway/transport", "protocol/pdu"},
			Modules: []string{"github.com/coder/websocket", prom}, TestImports: []string{"gateway/transport/transporttest"}},
		{Dir: "gateway/transport/longpoll", Why: "PDUs in plain HTTP requests and responses", Imports: []string{"gateway/transport", "protocol/pdu"},
			Modules: []string{prom, "golang.org/x/time"}, TestImports: []string{"gateway/transport/transporttest"}},
		{Dir: "gateway/transport/quicport", Why: "one UDP port for native clients and HTTP/3 over QUIC", Imports: []string{"gateway/transport"},
			Modules: []string{"github.com/quic-go/quic-go", "github.com/quic-go/webtransport-go", prom, sync}, TestImports: []string{"gateway/transport/transporttest", "protocol/pdu"}},
		{Dir: "gateway/msfs", Why: "pictures and files over HTTP: the legacy forms, signed addresses, uploads that go on",
			Imports: []string{"blobs/picture", "gateway/transport"}, Modules: []string{prom, sync}},
		{Dir: "gateway/transfer", Why: "the legacy file transfer: tasks, relays, files that wait",
			Imports: []string{"gateway/transport", "protocol/pb", "protocol/pdu", "internal/obs"}, Modules: []string{proto, prom, sync}},
		{Dir: "web", Why: "the browser client, built and embedded", Modules: nil},
		{Dir: "blobs", Why: "content by its hash: on disk or S3, from other nodes and offices",
			Modules:     []string{"github.com/minio/minio-go/v7", prom},
			TestImports: []string{"bus", "internal/peers/...", "raftstore/..."}},
		{Dir: "blobs/picture", Why: "what a picture is: its kind, its size, without its metadata, smaller", Modules: []string{"golang.org/x/image"}},
		{Dir: "service", Why: "the rules: who may do what",
			Imports: []string{"service/password", "protocol/crypt", "internal/obs"}, Modules: []string{prom, sync}},
		{Dir: "service/password", Why: "password hashes and the memory of verified ones",
			Imports: []string{"internal/obs"}, Modules: []string{"golang.org/x/crypto", sync, prom}},
		{Dir: "raftstore", Why: "the engine: log, group commit, state file, snapshots",
			Imports: []string{"internal/obs"}, TestImports: []string{"raftstore/state", "service"}, // clusters of the real machine
			Modules: []string{raft, "github.com/hashicorp/raft-boltdb/v2", "github.com/hashicorp/go-hclog", bolt, prom, sys, sync}},
		{Dir: "raftstore/state", Why: "the replicated state machine and its queries",
			Imports: []string{"raftstore", "protocol/fed", "internal/obs"}, Modules: []string{bolt, cbor}},
		{Dir: "federation", Why: "links with other clusters: what waits goes out, what comes is checked and executed",
			Imports: []string{"protocol/fed", "internal/obs"}, Modules: []string{cbor, prom, sync, "golang.org/x/time", "github.com/quic-go/quic-go"},
			TestImports: []string{"bus", "raftstore", "raftstore/state", "internal/simnet", "service"}},

		{Dir: "internal/obs", Why: "logs, metrics, health, version", Modules: []string{prom}},
		{Dir: "internal/admin", Why: "the operators' HTTP API and its Go client",
			Imports: []string{"internal/cluster", "internal/peers/authority", "federation", "protocol/fed", "internal/obs"}, Modules: []string{prom}},
		{Dir: "internal/peers", Why: "all that goes between nodes: port, mesh of calls, joining",
			Imports: []string{"internal/peers/...", "internal/obs"}, Modules: []string{raft, cbor, prom, sys}, TestImports: []string{"internal/simnet"}},
		{Dir: "internal/peers/authority", Why: "who belongs to a cluster: certificates and join tokens"},
		{Dir: "internal/peers/rpc", Why: "calls from one node to another over one connection", Modules: []string{cbor, sync}},
		{Dir: "internal/cluster", Why: "who is a member: joining, votes, removal; status and orders of operators",
			Imports: []string{"internal/peers/...", "internal/obs"}, Modules: []string{cbor, prom, sync}},
		{Dir: "internal/node", Why: "configuration, and the one place that assembles every part",
			Imports: []string{"bus", "gateway/...", "service/...", "raftstore/...", "federation", "blobs/...", "web", "internal/admin", "internal/cluster", "internal/peers/...", "internal/obs", "protocol/..."},
			Modules: []string{"go.yaml.in/yaml/v3", "github.com/quic-go/quic-go", prom, sync, bolt}},
	}
}

// otherRows are clients, tests, tools and commands.
func otherRows() []Row {
	return []Row{
		{Dir: "client", Why: "the Go SDK: sessions that survive, exactly once both ways", Imports: []string{"client/dial", "protocol/..."}, Modules: []string{proto}},
		{Dir: "client/dial", Why: "how a client gets a connection on any network", Imports: []string{"protocol/pdu"},
			Modules:     []string{"github.com/quic-go/quic-go", "github.com/coder/websocket", "golang.org/x/net"},
			TestImports: []string{"gateway/transport/..."}},
		{Dir: "internal/e2e", Why: "end-to-end tests through the front door: scripts, crashes, hostile input",
			TestImports: []string{"bus", "gateway/...", "service/...", "raftstore/...", "federation", "internal/cluster", "internal/peers/..."}, // servers in the test's own process and time
			Imports:     []string{"protocol/...", "client/...", "internal/load", "internal/simnet/...", "internal/simdisk"}, Modules: []string{proto, sys, "github.com/coder/websocket", "github.com/quic-go/quic-go", "github.com/anishathalye/porcupine", bolt}},
		{Dir: "internal/sealed", Why: "encrypts backups with a passphrase", Modules: []string{"filippo.io/age"}},
		{Dir: "internal/scalemodel", Why: "a model of a hundred linked clusters in virtual time: fan-out, queues, recovery", TestImports: []string{"protocol/fed"}},
		{Dir: "internal/simnet", Why: "faulty networks for tests: relays, namespaces, in memory", Modules: []string{sys}},
		{Dir: "internal/simnet/netns", Why: "faulty networks between namespaces of the kernel", Imports: []string{"internal/simnet"}, Modules: []string{sys}},
		{Dir: "internal/simdisk", Why: "a disk that loses power, fills up, is slow or fails, for tests", Modules: []string{"github.com/hanwen/go-fuse/v2", bolt}},
		{Dir: "internal/archtest", Why: "these rules", TestImports: nil},
		{Dir: "internal/load", Why: "the load generator's connections, modes and figures",
			Imports: []string{"protocol/...", "client/...", "internal/simnet"}, Modules: []string{proto, "github.com/HdrHistogram/hdrhistogram-go", sync, sys, "github.com/coder/websocket", "github.com/quic-go/quic-go"}},
		{Dir: "internal/texttable", Why: "tables and lines for terminals", Modules: []string{cells}},
		{Dir: "internal/terminal", Why: "the terminal client between its flags and the SDK: profile, sessions, names, lines", Imports: []string{"client/...", "internal/texttable"}},
		{Dir: "internal/chat", Why: "what a messenger's screen shows and how it changes; waits for nothing", Imports: []string{"client"}, Modules: []string{cells}},
		{Dir: "internal/chatview", Why: "the full-screen messenger: draws package chat, runs it on a session and a terminal",
			Imports: []string{"internal/chat", "internal/terminal", "client/..."}, Modules: []string{cells, tty}, TestImports: []string{"internal/e2e"}},
		{Dir: "internal/doctor", Why: "finds out why a client can't reach its server", Imports: []string{"client/dial"}, Modules: []string{"golang.org/x/net"}},
		{Dir: "cmd/teamtalk", Why: "the terminal client: flags only", Imports: []string{"client/...", "internal/chatview", "internal/terminal", "internal/doctor", "internal/texttable", "internal/obs"},
			Modules: []string{kong, "golang.org/x/term"}, TestImports: []string{"internal/e2e", "internal/simnet"}},
		{Dir: "cmd/teamtalkd", Why: "the server and the operators' commands: flags only",
			Imports: []string{"internal/node", "internal/admin", "internal/sealed", "internal/texttable", "internal/obs"}, Modules: []string{kong, "github.com/schollz/progressbar/v3", "golang.org/x/term"},
			TestImports: []string{"internal/cluster", "internal/peers/authority", "federation", "protocol/fed"}},
		{Dir: "cmd/ttload", Why: "the load generator: flags only", Imports: []string{"internal/load", "internal/scalemodel"}, Modules: []string{kong}, TestImports: []string{"internal/e2e"}},
	}
}

// CodeBudgets is how large things may get.
func CodeBudgets() Budgets {
	return Budgets{FileLines: 600, FuncLines: 80, StructFields: 20, InterfaceMethods: 8}
}

// RuleKeys says where the rules of the protocols are: the one with clients, and the one between clusters.
func RuleKeys() []Keys {
	notCode := []string{"internal/archtest", "internal/e2e", "internal/load", "internal/scalemodel"}
	return []Keys{
		{Doc: "docs/PROTOCOL.md", Prefix: "TT", Scripts: "testdata/scripts", Pages: "web/src", NotCode: notCode},
		{Doc: "docs/FEDERATION.md", Prefix: "FED", Scripts: "testdata/scripts", Pages: "web/src", NotCode: notCode},
	}
}
