package dial

import (
	"slices"
	"strings"
	"testing"
)

// The routes that an address means [TT-SESS-23].
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name      string
		addresses string // separated by blanks
		plain     bool
		want      string
	}{
		{"host", "chat.example.com", false,
			"quic://chat.example.com:443 tls://chat.example.com:443 wss://chat.example.com:443/ws https://chat.example.com:443/lp"},
		{"host and port", "Chat.Example.com:8443", false,
			"quic://chat.example.com:8443 tls://chat.example.com:8443 wss://chat.example.com:8443/ws https://chat.example.com:8443/lp"},
		{"plain allowed", "h", true,
			"quic://h:443 tls://h:443 wss://h:443/ws https://h:443/lp ws://h:80/ws http://h:80/lp tcp://h:8000"},
		{"plain allowed, port", "h:1", true, "quic://h:1 tls://h:1 wss://h:1/ws https://h:1/lp ws://h:1/ws http://h:1/lp tcp://h:1"},
		{"IPv4", "10.1.2.3", false, "quic://10.1.2.3:443 tls://10.1.2.3:443 wss://10.1.2.3:443/ws https://10.1.2.3:443/lp"},
		{"IPv6", "2001:DB8::1", false, "quic://[2001:db8::1]:443 tls://[2001:db8::1]:443 wss://[2001:db8::1]:443/ws https://[2001:db8::1]:443/lp"},
		{"IPv6 and port", "[::1]:99", false, "quic://[::1]:99 tls://[::1]:99 wss://[::1]:99/ws https://[::1]:99/lp"},
		{"better ones first", "tcp://a https://b/lp quic://c", false, "quic://c:443 https://b:443/lp tcp://a:8000"},
		{"two hosts", "tls://a,quic://a,quic://b", false, "quic://a:443 quic://b:443 tls://a:443"},
		{"each once", "quic://a QUIC://A:443/", false, "quic://a:443"},
		{"paths", "wss://a/chat/ws https://a/x/lp/ http://a ws://a/", false, "wss://a:443/chat/ws https://a:443/x/lp ws://a:80/ws http://a:80/lp"},
		{"another alphabet", "tls://例え.jp", false, "tls://xn--r8jz45g.jp:443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addresses := strings.FieldsFunc(c.addresses, func(r rune) bool { return r == ' ' || r == ',' })
			routes, err := Parse(addresses, c.plain)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range routes {
				got = append(got, r.URL)
				s, _, _ := strings.Cut(r.URL, "://")
				if plain := slices.Contains([]string{"ws", "http", "tcp"}, s); plain != r.Plain {
					t.Errorf("%v: Plain is %v", r, r.Plain)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, a := range []string{"", " ", "ftp://a", "://a", "tls://", "tls://a:0", "tls://a:65536", "tls://a:http", "tls://u:p@a", "u@a", "a/b", "a?b",
		"quic://a/path", "wss://a/?q=1", "https://a/lp#x", "a b", "tls://[fe80::1%25eth0]", "fe80::1%eth0", "a:b:c", "tls://a..b", "tls://.a", "tls://" + strings.Repeat("a.", 127) + "a"} {
		if routes, err := Parse([]string{a}, true); err == nil {
			t.Errorf("%q: %v", a, routes)
		}
	}
	routes, err := Parse([]string{"ftp://a", "tls://b"}, false)
	if err == nil || len(routes) != 1 {
		t.Errorf("a good address beside a bad one: %v, %v", routes, err)
	}
}

// Whatever Parse returns, dialling can take apart, and parsing it again changes nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"chat.example.com:8443", "wss://a/ws", "http://[::1]:80/lp", "tcp://1.2.3.4", "例え.jp", "tls://a/%2e%2e", "https://a//b?c", "\x880", "http://0//"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, plain bool) {
		routes, err := Parse([]string{s}, plain)
		if err != nil {
			return
		}
		for _, r := range routes {
			host, hostPort, err := r.address()
			if err != nil || host == "" || hostPort == "" || r.Transport.rank() < 0 {
				t.Fatalf("%q: %+v: %v", s, r, err)
			}
			again, err := Parse([]string{r.URL}, false)
			if err != nil || len(again) != 1 || again[0] != r {
				t.Fatalf("%q: %+v became %+v, %v", s, r, again, err)
			}
		}
	})
}
