package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func newMsgServer(t *testing.T, a Availability) *MsgServer {
	t.Helper()
	m, err := NewMsgServer(MsgServerConfig{Host: "127.0.0.1", Port: 8000, MSFS: "http://127.0.0.1:8700", Discovery: "http://127.0.0.1/api/discovery?a=1&b=2",
		Availability: func() Availability { return a }})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// [TT-HTTP-1] [TT-HTTP-2] [TT-DIFF-25]
func TestMsgServerHTTP(t *testing.T) {
	whole := `{
   "backupIP" : "127.0.0.1",
   "code" : 0,
   "discovery" : "http://127.0.0.1/api/discovery?a=1&b=2",
   "msfsBackup" : "http://127.0.0.1:8700/",
   "msfsPrior" : "http://127.0.0.1:8700/",
   "msg" : "",
   "port" : "8000",
   "priorIP" : "127.0.0.1"
}
`
	for name, tc := range map[string]struct {
		method, path string
		availability Availability
		status       int
		body         string
	}{
		"get":       {"GET", "/msg_server", Available, 200, whole},
		"post":      {"POST", "/msg_server", Available, 200, whole},
		"any":       {"BREW", "/msg_server", Available, 200, whole},
		"query":     {"GET", "/msg_server?x=1", Available, 200, whole},
		"suffix":    {"GET", "/msg_serverXYZ/1", Available, 200, whole},
		"not ready": {"GET", "/msg_server", NotReady, 200, "{\n   \"code\" : 1,\n   \"msg\" : \"没有可用的服务器\"\n}\n"},
		"full":      {"GET", "/msg_server", Full, 200, "{\n   \"code\" : 2,\n   \"msg\" : \"服务器已满\"\n}\n"},
		"elsewhere": {"GET", "/msg", Available, 404, "404 page not found\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ts := httptest.NewServer(newMsgServer(t, tc.availability))
			defer ts.Close()
			conn, err := net.Dial("tcp", strings.TrimPrefix(ts.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tc.method+" "+tc.path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tc.status || string(body) != tc.body {
				t.Errorf("%d %q, %v", res.StatusCode, body, err)
			}
			if tc.status == 200 && (res.Header.Get("Content-Type") != "text/html;charset=utf-8" || !res.Close || res.ContentLength != int64(len(tc.body))) {
				t.Errorf("header %v, length %d", res.Header, res.ContentLength)
			}
			_ = res.Body.Close()
		})
	}
}

// [TT-HTTP-3]
func TestMsgServerNative(t *testing.T) {
	for a, answer := range map[Availability]*pb.IMMsgServRsp{
		Available: {ResultCode: pb.ResultType_REFUSE_REASON_NONE.Enum(), PriorIp: new("127.0.0.1"), BackipIp: new("127.0.0.1"), Port: new(uint32(8000))},
		NotReady:  {ResultCode: pb.ResultType_REFUSE_REASON_NO_MSG_SERVER.Enum()},
		Full:      {ResultCode: pb.ResultType_REFUSE_REASON_MSG_SERVER_FULL.Enum()},
	} {
		l, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0", Listener: "login"})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = l.Serve(newMsgServer(t, a).ServeConn) }() // ends with Close below
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ask := pdu.AppendRaw(nil, pdu.Header{Command: pdu.CmdHeartbeat}, nil) // ignored
		if _, err := conn.Write(append(ask, encode(t, pdu.CmdAddressReq, 3, nil)...)); err != nil {
			t.Fatal(err)
		}
		r := pdu.NewReader(conn)
		p, err := r.Read(pdu.MaxLen)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, p, want{pdu.CmdAddressRes, 3, answer})
		if _, err := r.Read(pdu.MaxLen); err != io.EOF {
			t.Errorf("then %v", err)
		}
		_ = conn.Close()
		l.Close()
	}
}

// [TT-QUEUE-4]
func TestMsgServerChooses(t *testing.T) {
	node := func(host string, a Availability, load float64) NodeStatus {
		return NodeStatus{Host: host, Port: 8000, Availability: a, Load: load}
	}
	for name, tc := range map[string]struct {
		nodes  []NodeStatus
		result Availability
		named  []string // each of these, and no other
	}{
		"none":                    {nil, NotReady, nil},
		"none ready":              {[]NodeStatus{node("a", NotReady, 0), node("b", NotReady, 0)}, NotReady, nil},
		"those ready are full":    {[]NodeStatus{node("a", NotReady, 0), node("b", Full, 0), node("c", NotReady, 0), node("d", Full, 0)}, Full, nil},
		"one":                     {[]NodeStatus{node("a", Full, 0), node("b", Available, 0.9), node("c", NotReady, 0)}, Available, []string{"b"}},
		"least loaded":            {[]NodeStatus{node("a", Available, 0.5), node("b", Available, 0.2), node("c", Available, 0.3), node("d", Full, 0.1)}, Available, []string{"b"}},
		"least loaded, last":      {[]NodeStatus{node("a", Available, 0.5), node("b", Full, 0.1), node("c", Available, 0.4)}, Available, []string{"c"}},
		"equals share":            {[]NodeStatus{node("a", Available, 0.2), node("b", Available, 0.2), node("c", Available, 0.2), node("d", Available, 0.3)}, Available, []string{"a", "b", "c"}},
		"about equal":             {[]NodeStatus{node("a", Available, 0.209), node("b", Available, 0.2), node("c", Available, 0.211)}, Available, []string{"a", "b"}},
		"equals behind a greater": {[]NodeStatus{node("a", Available, 0.7), node("b", Available, 0.2), node("c", Available, 0.2)}, Available, []string{"b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := NewMsgServer(MsgServerConfig{Host: "self", Port: 1, Availability: func() Availability { return Available },
				Nodes: func() []NodeStatus { return tc.nodes }})
			if err != nil {
				t.Fatal(err)
			}
			named := map[string]int{}
			const asked = 600
			for range asked {
				n := m.choose()
				if n.Availability != tc.result {
					t.Fatalf("got %+v", n)
				}
				if n.Availability == Available {
					named[n.Host]++
				}
			}
			if len(named) != len(tc.named) {
				t.Errorf("named %v", named)
			}
			for _, host := range tc.named {
				if named[host] < asked/len(tc.named)/2 { // chance does not do that
					t.Errorf("named %v", named)
				}
			}
		})
	}
	m, err := NewMsgServer(MsgServerConfig{Host: "self", Port: 1, Nodes: func() []NodeStatus {
		return []NodeStatus{{Host: "a", BackupHost: "b", Port: 8001}, {Host: "c", Port: 8002, Load: 1}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := jsoncpp(m.answer()); !bytes.Contains(got, []byte(`"priorIP" : "a"`)) || !bytes.Contains(got, []byte(`"backupIP" : "b"`)) || !bytes.Contains(got, []byte(`"port" : "8001"`)) {
		t.Errorf("over HTTP: %s", got)
	}
	if got := m.nativeAnswer(); got.GetPriorIp() != "a" || got.GetBackipIp() != "b" || got.GetPort() != 8001 {
		t.Errorf("0x0102: %v", got)
	}
}

func TestMsgServerNativeGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		began := time.Now()
		newMsgServer(t, Available).ServeConn(transport.NewStream(near, transport.KindTCP))
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("gave up after %v", d)
		}
		_ = near.Close()
	})
}

func TestMsgServerNeedsAnAddress(t *testing.T) {
	for _, cfg := range []MsgServerConfig{{Port: 8000}, {Host: "h"}} {
		if _, err := NewMsgServer(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
