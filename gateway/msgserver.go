package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// Availability says whether a client that asks for a server may be sent here.
type Availability uint8

// Availabilities.
const (
	Available Availability = iota
	NotReady               // cannot take logins now
	Full                   // has as many sessions as it may have, or a legacy login would wait too long
)

// Availability is that of this server by itself; whether its store takes writes is for others to say.
func (srv *Server) Availability() Availability {
	switch {
	case srv.sessions.isStopped(), srv.sessions.isDraining():
		return NotReady
	case !srv.sessions.hasRoom(0, protocol.ClientWindows, &srv.limits):
		return Full
	case !srv.admission.begins(legacyWait): // [TT-QUEUE-4]
		return Full
	}
	return Available
}

// Load is the share of its sessions that this server has, from 0 to 1; see NodeStatus.
func (srv *Server) Load() float64 {
	return float64(srv.sessions.count()) / float64(srv.limits.Connections)
}

// NodeStatus is one of the nodes that clients may be sent to.
type NodeStatus struct {
	Host         string // where clients connect to: an address or a name
	BackupHost   string // empty: Host
	Port         uint16
	Availability Availability
	Load         float64 // the share of its sessions that is taken, perhaps a moment ago
}

// MsgServerConfig is what clients are told.
type MsgServerConfig struct {
	Host       string // where clients connect to: an address or a name
	BackupHost string // empty: Host
	Port       uint16
	MSFS       string // base URL of pictures and the like; a slash is put at its end
	Discovery  string // URL of the list that some clients show in a tab of its own

	Availability func() Availability // of this node; nil: always Available
	Nodes        func() []NodeStatus // all there are, this one included; nil: this one alone, as the fields above say
	Timeout      time.Duration       // for a client of the login port to ask and to close; 0: 15 s
	Log          *slog.Logger        // nil: slog.Default()
}

// MsgServer tells clients where to connect: over HTTP, as the login_server of old, and by 0x0101 on the login port.
type MsgServer struct {
	cfg MsgServerConfig
}

const (
	msgServerPath  = "/msg_server"
	textNoServer   = "没有可用的服务器"
	textServerFull = "服务器已满"
)

// NewMsgServer checks what is to be told.
func NewMsgServer(cfg MsgServerConfig) (*MsgServer, error) {
	if cfg.Host == "" || cfg.Port == 0 {
		return nil, fmt.Errorf("gateway: the address told to clients needs a host and a port, not %q and %d", cfg.Host, cfg.Port)
	}
	if cfg.MSFS != "" && !strings.HasSuffix(cfg.MSFS, "/") { // COMPAT: Windows puts "upload/" behind it [TT-HTTP-1]
		cfg.MSFS += "/"
	}
	if cfg.Availability == nil {
		cfg.Availability = func() Availability { return Available }
	}
	if cfg.Nodes == nil {
		cfg.Nodes = func() []NodeStatus {
			return []NodeStatus{{Host: cfg.Host, BackupHost: cfg.BackupHost, Port: cfg.Port, Availability: cfg.Availability()}}
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	orDefault(&cfg.Timeout, 15*time.Second)
	return &MsgServer{cfg: cfg}, nil
}

// sameLoad is how far loads may be apart and yet count as equal: they are known as they were a moment ago, and everybody who asked since then was told
// of the same node.
const sameLoad = 0.01

// choose is the least loaded of the available nodes, any of those that are about equal; without one, the best that can be said of them [TT-QUEUE-4].
func (m *MsgServer) choose() NodeStatus {
	nodes, best := m.cfg.Nodes(), NodeStatus{Availability: NotReady}
	for _, n := range nodes {
		switch {
		case n.Availability == Full && best.Availability == NotReady,
			n.Availability == Available && (best.Availability != Available || n.Load < best.Load):
			best = n
		}
	}
	equals, least := 0, best.Load
	for _, n := range nodes {
		if best.Availability == Available && n.Availability == Available && n.Load <= least+sameLoad {
			if equals++; rand.IntN(equals) == 0 { // each with the same chance
				best = n
			}
		}
	}
	if best.BackupHost == "" {
		best.BackupHost = best.Host
	}
	return best
}

// ServeHTTP answers any method on any path that begins with /msg_server; other paths are not found [TT-HTTP-1] [TT-DIFF-25].
func (m *MsgServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, msgServerPath) {
		http.NotFound(w, r)
		return
	}
	body := jsoncpp(m.answer())
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.ProtoMajor == 1 { // COMPAT: as the login_server; later versions of HTTP have no such header
		h.Set("Connection", "close")
	}
	if _, err := w.Write(body); err != nil {
		m.cfg.Log.Debug("address not told", "remote", r.RemoteAddr, "error", err)
	}
}

type member struct {
	name  string
	value any
}

// answer is the object to send, in the order of its keys. COMPAT: port is a string, code a number [TT-HTTP-1]; without a server there are but two
// keys [TT-HTTP-2].
func (m *MsgServer) answer() []member {
	node := m.choose()
	switch node.Availability {
	case NotReady:
		return []member{{"code", 1}, {"msg", textNoServer}}
	case Full:
		return []member{{"code", 2}, {"msg", textServerFull}}
	case Available:
	}
	return []member{
		{"backupIP", node.BackupHost},
		{"code", 0},
		{"discovery", m.cfg.Discovery},
		{"msfsBackup", m.cfg.MSFS},
		{"msfsPrior", m.cfg.MSFS},
		{"msg", ""},
		{"port", strconv.Itoa(int(node.Port))},
		{"priorIP", node.Host},
	}
}

// jsoncpp writes an object in the layout of the legacy server's library.
func jsoncpp(members []member) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // ends each value with a newline
	enc.SetEscapeHTML(false)
	b.WriteString("{\n")
	for i, kv := range members {
		fmt.Fprintf(&b, "   %q : ", kv.name)
		_ = enc.Encode(kv.value) // strings and small numbers always can
		if i < len(members)-1 {
			b.Truncate(b.Len() - 1)
			b.WriteString(",\n")
		}
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// ServeConn answers 0x0101 with 0x0102 on the login port and closes [TT-HTTP-3] [TT-DIFF-25].
func (m *MsgServer) ServeConn(conn transport.Conn) {
	if err := conn.SetReadDeadline(time.Now().Add(m.cfg.Timeout)); err != nil {
		return
	}
	for {
		p, err := conn.Read(pdu.MaxLenBeforeLogin)
		if err != nil {
			return
		}
		if p.Header.Command != pdu.CmdAddressReq { // [TT-FRAME-6]
			continue
		}
		b, err := pdu.Append(nil, pdu.CmdAddressRes, p.Header.Seq, m.nativeAnswer())
		if err == nil {
			err = conn.Write([][]byte{b})
		}
		if err == nil {
			err = conn.CloseWrite()
		}
		if err != nil {
			m.cfg.Log.Debug("address not told", "remote", conn.RemoteAddr(), "error", err)
			return
		}
		conn.Discard(time.Now().Add(m.cfg.Timeout))
		return
	}
}

func (m *MsgServer) nativeAnswer() *pb.IMMsgServRsp {
	node := m.choose()
	switch node.Availability {
	case NotReady:
		return &pb.IMMsgServRsp{ResultCode: pb.ResultType_REFUSE_REASON_NO_MSG_SERVER.Enum()}
	case Full:
		return &pb.IMMsgServRsp{ResultCode: pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL.Enum()}
	case Available:
	}
	return &pb.IMMsgServRsp{
		ResultCode: pb.ResultType_REFUSE_REASON_NONE.Enum(),
		PriorIp:    new(node.Host),
		BackipIp:   new(node.BackupHost),
		Port:       new(uint32(node.Port)),
	}
}
