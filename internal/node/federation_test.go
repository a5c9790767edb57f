package node

import (
	"slices"
	"testing"
	"time"

	"teamtalk/federation"
	"teamtalk/internal/admin"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// eventually waits until something is so.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !reached() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

// TestOfficesLink has two nodes, of a cluster each, link by either port; the other end of each is nowhere, so that it is known which one it is.
func TestOfficesLink(t *testing.T) {
	for _, via := range []string{"quic", "tls"} {
		t.Run(via, func(t *testing.T) {
			a, b := startNode(t, testConfig(t, t.TempDir(), nil)), startNode(t, testConfig(t, t.TempDir(), nil))
			defer stopNode(t, a)
			defer stopNode(t, b)
			for domain, n := range map[string]*Node{"a.example": a, "b.example": b} {
				if n.domain() != "" {
					t.Errorf("a domain before there is one: %s", n.domain())
				}
				if err := n.abroad.manager.Init(t.Context(), federation.Naming{Domain: domain, Office: domain, Endpoints: []string{n.Addresses()[via]}}); err != nil {
					t.Fatal(err)
				}
				eventually(t, "its own domain", func() bool { return n.domain() == domain })
			}
			introduce(t, a.abroad.manager, b.abroad.manager)
			for _, n := range []*Node{a, b} {
				eventually(t, "a link by "+via, func() bool {
					s, err := n.abroad.manager.Status(t.Context())
					return err == nil && len(s.Links) == 1 && s.Links[0].Up && s.Links[0].Via == via
				})
			}
		})
	}
}

// introduce has two operators do what they do.
func introduce(t *testing.T, a, b *federation.Manager) {
	t.Helper()
	invitation, err := a.Invite(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	met, err := b.AcceptInvitation(t.Context(), invitation.Code(), "")
	if err != nil {
		t.Fatal(err)
	}
	self, err := b.Self()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Confirm(t.Context(), met.Domain, met.Fingerprint, fed.AllowAll, fed.AllowAll); err != nil {
		t.Fatal(err)
	}
	if err := a.Confirm(t.Context(), self.Domain, self.Fingerprint, fed.AllowAll, fed.AllowAll); err != nil {
		t.Fatal(err)
	}
}

func TestFederationEndpoints(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), map[string]string{"listen.node": "off"})) // nobody else says where others are
	defer stopNode(t, n)
	n.peering.neighbours.set(map[protocol.NodeID]neighbour{"n2": {Endpoints: []string{"quic://10.0.0.2:443", "tls://10.0.0.2:443", "wss://10.0.0.2:443/ws"}}, "n3": {Endpoints: []string{"tls://10.0.0.2:443"}}})
	if got, want := n.federationEndpoints(), []string{n.Addresses()["tls"], "10.0.0.2:443"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	n.cfg.Federation.Endpoints = []string{"chat.example.com:443"}
	if got := n.federationEndpoints(); !slices.Equal(got, n.cfg.Federation.Endpoints) {
		t.Errorf("%q in spite of the configuration", got)
	}
	for _, bad := range []string{"chat.example.com", ":443", "0.0.0.0:443", "chat.example.com:0", "https://chat.example.com:443"} {
		if err := Default().Set("federation.endpoints", bad, "test"); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// [FED-ID-4]
func TestBackupsKnowOfTheRootKey(t *testing.T) {
	n := startNode(t, testConfig(t, t.TempDir(), nil))
	defer stopNode(t, n)
	var b admin.Backups = backups{n.store}
	if holds, err := b.HoldsRootKey(); err != nil || holds {
		t.Errorf("before: %t, %v", holds, err)
	}
	if err := n.abroad.manager.Init(t.Context(), federation.Naming{Domain: "a.example", Office: "A"}); err != nil {
		t.Fatal(err)
	}
	if holds, err := b.HoldsRootKey(); err != nil || !holds {
		t.Errorf("afterwards: %t, %v", holds, err)
	}
}
