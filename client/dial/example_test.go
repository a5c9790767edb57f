package dial_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/client/dial"
	"teamtalk/protocol"
)

// A host name stands for all encrypted transports.
func ExampleParse() {
	routes, err := dial.Parse([]string{"chat.example.com", "tcp://10.0.0.7"}, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range routes {
		fmt.Println(r.Transport, r)
	}
	// Output:
	// quic quic://chat.example.com:443
	// tls tls://chat.example.com:443
	// websocket wss://chat.example.com:443/ws
	// longpoll https://chat.example.com:443/lp
	// tcp tcp://10.0.0.7:8000
}

// A race goes on until a connection leads to a server that answers.
func ExampleDialer_Race() {
	dialer, err := dial.New([]string{"tls://127.0.0.1:1"}, dial.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dialer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	race := dialer.Race()
	for {
		conn, err := race.Next(ctx)
		if failed := (*dial.Error)(nil); errors.As(err, &failed) {
			for _, a := range failed.Attempts {
				fmt.Println(a.Route, "does not work")
			}
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		if welcomed(conn) {
			dialer.Remember(conn.Route())
			return
		}
		_ = conn.Close(protocol.CodeUnspecified, "no WELCOME") // and the next
	}
	// Output: tls://127.0.0.1:1 does not work
}

// welcomed stands for the caller's handshake.
func welcomed(dial.Conn) bool { return false }
