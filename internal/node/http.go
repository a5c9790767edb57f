package node

import (
	"fmt"
	"net/http"
	"time"

	"teamtalk/gateway/msfs"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/gateway/transport/ws"
)

// Limits of the HTTP listeners: what a client may take to send a request, and how large its header may be. Polls extend these for themselves.
const (
	headerTime  = 10 * time.Second
	bodyTime    = 30 * time.Second
	idleTime    = 2 * time.Minute
	headerBytes = 16 << 10
	// leaveTime is for the last answers once all sessions have ended. It is not an error if it is not enough: net/http also waits for connections
	// on which nothing was asked yet.
	leaveTime = 2 * time.Second
	// streams is how many requests one HTTP/2 connection may have under way.
	streams = 64
)

// publicMux is what anybody can reach, on whatever HTTP. What is not there is 404: so answers the handler of /msg_server.
// Each of more adds what else is served, by patterns of its own.
func publicMux(msgServer http.Handler, sockets *ws.Handler, polls *longpoll.Handler, more ...func(*http.ServeMux)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", msgServer)
	mux.Handle("/ws", sockets)
	mux.Handle("/lp", polls)
	mux.Handle("/lp/", polls)
	for _, add := range more {
		add(mux)
	}
	return msfs.Guard(mux) // before the mux makes a proper path of one that is none
}

// publicServer is for the listeners that anybody can reach.
func publicServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: bodyTime,
		IdleTimeout: idleTime, MaxHeaderBytes: headerBytes, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams}}
}

// advertiseHTTP3 tells browsers on the TLS port where HTTP/3 is.
func advertiseHTTP3(h http.Handler, port uint16) http.Handler {
	where := fmt.Sprintf(`h3=":%d"; ma=86400`, port)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", where)
		h.ServeHTTP(w, r)
	})
}
