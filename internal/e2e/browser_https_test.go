//go:build linux

package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"testing"

	"teamtalk/protocol/pb"
)

// TestBrowserHTTPS: over https the page speaks WebTransport, and what it sends comes to a client of before, as that one's comes to it: web/test/https.mjs
// [TT-WT-1]. Its session survives a reload, though scripts can't read what it resumes with.
func TestBrowserHTTPS(t *testing.T) {
	chromium(t)
	together(t)
	n := StartCluster(t, 1, ClusterConfig{Unraced: true, Users: 4, Args: quickPasswords()}).Nodes[0] // TLS and QUIC on one port, as a page expects it
	ctx, cancel := limited(t, browserPatience)
	defer cancel()
	old := logIn(t, ctx, n.Server, "user2", pb.ClientType_CLIENT_TYPE_WINDOWS)
	facts := map[string]any{"page": "https://" + n.Addr.TLS + "/", "password": browserPassword, "key": keyOf(t, n.Server)}
	perform(t, "https.mjs", facts, map[string]favour{
		"say": asked(t, func(a said) any {
			id, err := old.Say(ctx, a.In.before(t), a.Text)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}),
	})
}

// keyOf is the SHA-256 of the public key of the server's certificate, as Chromium wants it.
func keyOf(t *testing.T, s *Server) string {
	t.Helper()
	conf, err := s.trust()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.Addr.TLS, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
