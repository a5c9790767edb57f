package doctor

import (
	"io"
	"net"
	"time"
)

// diagnosis is a scene and what the doctor has to find.
type diagnosis struct {
	name  string
	set   func(o *office) scene
	kinds []Kind
	says  string // is in the first finding, or in the summary if there is none
	ok    bool
}

// good is a port of a TeamTalk server that all is well with.
func good(o *office) string { return o.secure("chat.test", 0, native) }

func wellDiagnoses() []diagnosis {
	return []diagnosis{
		{"all well", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(405, "text/plain", "", 0)}
		}, nil, "all well: 1 of 1 ways work, the best is tls", true},
		{"UDP dropped", func(o *office) scene {
			port := good(o)
			o.swallow(port)
			return scene{address: []string{"tls://chat.test:" + port, "quic://chat.test:" + port}}
		}, []Kind{NoUDP}, "UDP gets no answer at chat.test:", true},
	}
}

func trustDiagnoses() []diagnosis {
	return []diagnosis{
		{"unknown authority", func(o *office) scene { return scene{address: []string{"tls://chat.test:" + good(o)}, distrust: true} }, []Kind{Untrusted}, "issued by Prying Box of ACME, whom this machine does not trust", false},
		{"another name", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("office.test", 0, native)}}
		}, []Kind{OtherName}, "is for office.test", false},
		{"wrong host", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("www.test", 0, "")}, plain: o.web(200, "text/html", "<html>Welcome</html>", 0)}
		}, []Kind{WrongHost}, "(127.0.0.1): its certificate is for www.test, by Prying Box of ACME", false},
		{"inspected", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", 0, "http/1.1")}, distrust: true}
		}, []Kind{Inspected}, "seems to be opened on the way: the certificate is issued by Prying Box of ACME, whom this machine does not trust", false},
		{"clock behind", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(405, "text/plain", "", time.Hour), clock: -4 * day}
		}, []Kind{WrongClock}, "clock is 4 days behind the server's; the certificate at chat.test:", false},
		{"clock ahead", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(404, "text/plain", "", 0), clock: day}
		}, []Kind{WrongClock}, "clock is 24 hours ahead of the server's", false},
		{"clock behind, by TLS", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + o.secureWeb("chat.test")}, clock: -4 * day}
		}, []Kind{WrongClock}, "clock is 4 days behind the server's", false},
		{"clock behind, nobody tells", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, clock: -4 * day}
		}, []Kind{WrongClock}, "this machine's clock says ", false},
		{"clock a little off", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(405, "text/plain", "", 0), clock: -20*time.Minute - 10*time.Second}
		}, []Kind{WrongClock}, "clock is 20 minutes behind the server's, which keeps nobody out yet", true},
		{"expired", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", -day, native)}, plain: o.web(405, "text/plain", "", 0)}
		}, []Kind{Expired}, "this machine's clock is right", false},
		{"expired, or the clock", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", -day, native)}}
		}, []Kind{Expired}, "has expired on ", false},
	}
}

func reachDiagnoses() []diagnosis {
	return []diagnosis{
		{"name not known", func(*office) scene { return scene{address: []string{"chta.test"}} }, []Kind{NoName}, "does not know the name chta.test", false},
		{"DNS silent", func(*office) scene { return scene{address: []string{"tls://slow.test"}} }, []Kind{NoDNS}, "the DNS server does not answer, so slow.test can't be found", false},
		{"server down", func(o *office) scene { return scene{address: []string{"chat.test:" + o.nobody()}} }, []Kind{Refused}, "nothing listens at that port", false},
		{"dropped", func(*office) scene { return scene{address: []string{"black.test"}} }, []Kind{Silent}, "no answer at all from black.test:443 (192.0.2.1)", false},
		{"proxy wants a login", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o)}, proxy: o.web(407, "text/html", login, 0, "Proxy-Authenticate", "Basic realm=x")}
		}, []Kind{ProxyLogin}, "wants a name and password (407)", false},
		{"proxy forbids", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o), "https://chat.test:" + good(o)}, proxy: o.web(403, "text/html", login, 0)}
		}, []Kind{ProxyForbid}, "refuses chat.test (403 Forbidden)", false},
		{"proxy down", func(o *office) scene {
			return scene{address: []string{"wss://chat.test:" + good(o)}, proxy: "http://127.0.0.1:" + o.nobody()}
		}, []Kind{ProxyForbid}, "can't be reached", false},
	}
}

func placeDiagnoses() []diagnosis {
	return []diagnosis{
		{"portal", func(o *office) scene {
			page := o.web(200, "text/html; charset=utf-8", login, 0)
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: page, hijack: page, distrust: true}
		}, []Kind{Portal}, "log in first: its page answers in the place of every server (answered 200 OK", false},
		{"portal that redirects", func(o *office) scene {
			page := o.web(302, "text/html", "", 0, "Location", "http://login.hotel.test/")
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, plain: page, hijack: page}
		}, []Kind{Portal}, "302 Found to http://login.hotel.test/", false},
		{"portal by DNS", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, plain: o.web(302, "text/html", "", 0, "Location", "http://login.hotel.test/"), liar: true}
		}, []Kind{Portal}, "its DNS gives the same address for every name, and a page answers there", false},
		{"portal that says so", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, plain: o.web(511, "text/html", login, 0)}
		}, []Kind{Portal}, "511 Network Authentication Required", false},
		{"DNS that knows any name", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, liar: true}
		}, []Kind{Portal}, "even for those that do not exist", false},
		{"DNS that knows any name, and the server", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, liar: true}
		}, nil, "all well", true},
		{"a web site beside the server", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + good(o)}, plain: o.web(200, "text/html", login, 0)}
		}, nil, "all well", true},
		{"a web site where the server was", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.nobody()}, plain: o.web(301, "text/html", "", 0, "Location", "https://www.test/")}
		}, []Kind{Refused}, "(127.0.0.1) is there, but nothing listens", false},
		{"not TeamTalk", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.secure("chat.test", 0, "")}}
		}, []Kind{NotTeamTalk}, "whose certificate is right, but TeamTalk's it is not", false},
		{"not TeamTalk, but the web", func(o *office) scene {
			return scene{address: []string{"chat.test:" + o.secureWeb("chat.test")}}
		}, []Kind{NotTeamTalk}, ": longpoll fails, the server answered 404 Not Found, no long-poll session", false},
		{"not TLS", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.listen(func(nc net.Conn) { _, _ = io.WriteString(nc, "220 mail.test ESMTP\r\n") })}}
		}, []Kind{NoTLS}, "takes connections, but no TLS comes about: ", false},
		{"TLS swallowed", func(o *office) scene {
			return scene{address: []string{"tls://chat.test:" + o.listen(func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })}}
		}, []Kind{NoTLS}, "no TLS comes about: no answer", false},
		{"no network", func(*office) scene { return scene{address: []string{"lone.test"}} }, []Kind{Offline}, "this machine has no network", false},
		{"no network, by address", func(*office) scene { return scene{address: []string{"203.0.113.7"}} }, []Kind{Offline}, "this machine has no network", false},
		{"no route", func(*office) scene { return scene{address: []string{"far.test"}} }, []Kind{NoRoute}, "no way to far.test:443 (203.0.113.7)", false},
	}
}
