package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"teamtalk/internal/node"
)

type devCmd struct {
	Users    *int   `placeholder:"N" help:"How many demo users there are: user1, user2, …; without it a company of 20 people with names."`
	Password string `default:"12345" placeholder:"PASSWORD" help:"Their password. [12345]"`
	Join     string `name:"join" placeholder:"TOKEN" env:"TEAMTALK_JOIN" help:"Join the cluster that made this token (teamtalkd cluster token), instead of making a world of its own."`
	kong.Plugins

	flags func() map[string]string
}

// Run serves a demo world on loopback.
func (c *devCmd) Run(term *terminal) error {
	demo := node.DemoConfig{Users: node.DemoPeople, Company: true, Password: c.Password}
	if c.Users != nil {
		demo.Users, demo.Company = *c.Users, false
	}
	if demo.Users < 1 || demo.Users > node.MaxDemoUsers {
		return fmt.Errorf("--users: %d is not a number from 1 to %d", demo.Users, node.MaxDemoUsers)
	}
	if c.Password == "" {
		return fmt.Errorf("--password is empty")
	}
	cfg, warnings, err := node.Load(node.Sources{Environ: os.Environ(), Flags: c.flags(), Defaults: node.DevDefaults()})
	if err != nil {
		return err
	}
	if cfg.Join = c.Join; c.Join == "" {
		cfg.Demo = demo
	}
	return serve(term, cfg, warnings, func(n *node.Node) error {
		_, err := fmt.Fprint(term.out, c.welcome(cfg, demo, n))
		return err
	})
}

// welcome tells what listens where and what to try next; each line of the second part can be pasted.
func (c *devCmd) welcome(cfg *node.Config, demo node.DemoConfig, n *node.Node) string {
	at := n.Addresses()
	var b strings.Builder
	fmt.Fprintf(&b, "TeamTalk is up, with the data in %s.\n\n", cfg.Data)
	if a, ok := at["http"]; ok {
		fmt.Fprintf(&b, "  Open  http://%s/  and log in as user1, password %s; as user2 in a second window.\n\n", a, c.Password)
	}
	for _, l := range []struct{ name, what string }{
		{"tcp", "native protocol: clients chat here"},
		{"tls", "the same over TLS; HTTPS with all of http's"},
		{"quic", "UDP: the same over QUIC; HTTP/3"},
		{"http", "the web client; /msg_server: clients ask here where to log in; pictures at /msfs/, WebSocket at /ws, long-poll at /lp"},
		{"login", "native form of /msg_server"},
		{"files", "legacy file transfer"},
		{"node", "the other nodes of a cluster"},
		{"ops", "health, metrics, admin API"},
	} {
		if a, ok := at[l.name]; ok {
			fmt.Fprintf(&b, "  %-6s %-22s %s\n", l.name, a, l.what)
		}
	}
	if ca := n.CA(); ca.File != "" {
		fmt.Fprintf(&b, "\nThe certificate is signed by an authority of this node's own, for clients to trust:\n  %s\n  SHA-256 %s\n", ca.File, ca.Fingerprint)
	}
	who := "all"
	if demo.Users > node.DemoMembers {
		who = fmt.Sprintf("the first %d", node.DemoMembers)
	}
	fmt.Fprintf(&b, "\nUsers user1 … user%d, password %s, %s in the group \"%s\".\n\nTry:\n", demo.Users, c.Password, who, node.DemoGroup)
	self := os.Args[0]
	data := ""
	if cfg.Data != node.Default().Data {
		data = " --data " + shellQuote(cfg.Data)
	}
	fmt.Fprintf(&b, "  %s user list%s\n", self, data)
	fmt.Fprintf(&b, "  %s user add alice --password secret%s\n", self, data)
	if a, ok := at["http"]; ok {
		fmt.Fprintf(&b, "  curl http://%s/msg_server\n", a)
	}
	if a, ok := at["tls"]; ok && n.CA().File != "" {
		fmt.Fprintf(&b, "  curl --cacert %s https://%s/msg_server\n", shellQuote(n.CA().File), a)
		terminalClient := filepath.Join(filepath.Dir(self), "teamtalk")
		fmt.Fprintf(&b, "  %s login --server %s --ca %s user1\n", terminalClient, a, shellQuote(n.CA().File))
		fmt.Fprintf(&b, "  %s send user2 hello\n", terminalClient)
		fmt.Fprintf(&b, "  %s chat\n", terminalClient)
	}
	if a, ok := at["ops"]; ok {
		fmt.Fprintf(&b, "  curl http://%s/readyz\n", a)
	}
	if a, ok := at["http"]; ok {
		fmt.Fprintf(&b, "\nA TeamTalk client from before: set its login server to http://%s/msg_server\n"+
			"and log in as user1. Clients on other machines need --tcp :8000 --http :8080 --public-host NAME.\n", a)
	}
	b.WriteString("\nCtrl-C stops it; the data stays, and the next start takes it up again.\n")
	return b.String()
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
