package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/federation"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// offices is a federation that notes what it was asked for.
type offices struct {
	status  federation.Status
	about   federation.About
	peer    federation.PeerView
	trace   federation.TraceView
	letters []fed.DeadLetter
	invited fed.Invitation
	asked   []string
	fail    error
}

func (o *offices) note(format string, args ...any) error {
	o.asked = append(o.asked, fmt.Sprintf(format, args...))
	return o.fail
}

func (o *offices) Init(_ context.Context, n federation.Naming) error { return o.note("init %v", n) }
func (o *offices) Self() (federation.About, error)                   { return o.about, o.fail }
func (o *offices) RotateKey(_ context.Context, now bool) error       { return o.note("rotate %t", now) }

func (o *offices) Invite(_ context.Context, life time.Duration) (fed.Invitation, error) {
	return o.invited, o.note("invite %s", life)
}

func (o *offices) AcceptInvitation(_ context.Context, code, proxy string) (federation.PeerView, error) {
	return o.peer, o.note("accept %s by %q", code, proxy)
}

func (o *offices) Confirm(_ context.Context, peer, fingerprint string, in, out fed.Allow) error {
	return o.note("confirm %s %s %05b %05b", peer, fingerprint, in, out)
}

func (o *offices) SetPolicy(_ context.Context, peer string, p federation.Policy) error {
	text := "policy " + peer
	for _, a := range []*fed.Allow{p.In, p.Out} {
		if a == nil {
			text += " -"
			continue
		}
		text += fmt.Sprintf(" %05b", *a)
	}
	if p.Quota != nil {
		text += fmt.Sprintf(" %d", *p.Quota)
	}
	if p.Proxy != nil {
		text += fmt.Sprintf(" %q", *p.Proxy)
	}
	if p.DialOnly != nil {
		text += fmt.Sprintf(" %t", *p.DialOnly)
	}
	return o.note("%s", text)
}

func (o *offices) Pause(_ context.Context, peer string) error  { return o.note("pause %s", peer) }
func (o *offices) Remove(_ context.Context, peer string) error { return o.note("remove %s", peer) }

func (o *offices) Resume(_ context.Context, peer string, restored bool) error {
	return o.note("resume %q %t", peer, restored)
}

func (o *offices) Status(context.Context) (federation.Status, error) { return o.status, o.fail }

func (o *offices) Trace(_ context.Context, message string) (federation.TraceView, error) {
	return o.trace, o.note("trace %s", message)
}

func (o *offices) Search(_ context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error) {
	return []protocol.User{{ID: protocol.MaxLocalID, Name: "lin@there.example", Nick: "Lin (There)"}}, o.note("search %d %s %d", me, text, limit)
}

func (o *offices) DeadLetters(_ context.Context, peer string, limit int) ([]fed.DeadLetter, error) {
	return o.letters, o.note("deadletters %s %d", peer, limit)
}

func startFederation(t *testing.T, o *offices) (*Client, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	c := Config{Log: slog.New(slog.NewTextHandler(&log, nil))}
	if o != nil {
		c.Federation = o
	}
	s := httptest.NewServer(RequireToken(testToken, Handler(c)))
	t.Cleanup(s.Close)
	client, err := NewClient(s.URL, testToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, &log
}

func someOffices() *offices {
	return &offices{
		about: federation.About{Cluster: "c1", Domain: "here.example", Office: "Here", Fingerprint: "AAAA-BBBB", Endpoints: []string{"a:1"}, Serial: 3, Key: "k", Epoch: 1, Restored: true},
		peer:  federation.PeerView{Cluster: "c2", Domain: "there.example", Office: "There", Fingerprint: "CCCC", State: "introduced", In: []string{"direct"}, Out: []string{}, Quota: 9},
		status: federation.Status{Leader: "n1", Links: []federation.LinkView{{PeerView: federation.PeerView{Domain: "there.example", In: []string{}, Out: []string{}}, Up: true, Via: "quic",
			Depth: 1, Bytes: 2, OldestAge: 3, RoundTrip: 4, Skew: -5, Lanes: []federation.LaneView{{Lane: 1, Sent: 2, Acked: 1, Waiting: 7, In: 8}}}}},
		trace:   federation.TraceView{Event: "1.0@c", State: "pending", HubSeq: 4, Steps: []federation.TraceStep{{Peer: "there.example", Lane: 2, Sequence: 3, State: "waiting"}}},
		letters: []fed.DeadLetter{{Peer: fed.ClusterID{1}, Inbound: true, Type: fed.TypeMessage, ID: fed.EventID{Cluster: fed.ClusterID{1}, Index: 7}, Lane: 3, Sequence: 9, Code: protocol.CodeForbidden, Text: "not yours", Time: 1_000}},
		invited: fed.Invitation{Cluster: fed.ClusterID{1}, Root: fed.FingerprintOf([32]byte{1}), Endpoints: []string{"a:1"}, Secret: [32]byte{9}, Expires: 2_000_000_000_000, Domain: "here.example"},
	}
}

func TestFederationTravelsWhole(t *testing.T) {
	o := someOffices()
	c, _ := startFederation(t, o)
	status, err := c.Federation(t.Context())
	if diff := cmp.Diff(o.status, status); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	self, err := c.FederationSelf(t.Context())
	if diff := cmp.Diff(o.about, self); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	trace, err := c.TraceMessage(t.Context(), "g5/42")
	if diff := cmp.Diff(o.trace, trace); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	people, err := c.FindPeople(t.Context(), "l n&x", 5)
	if err != nil || len(people.Users) != 1 || people.Users[0].ID != protocol.MaxLocalID || people.Users[0].Nick != "Lin (There)" || o.asked[len(o.asked)-1] != "search 0 l n&x 5" {
		t.Errorf("%+v, %v, %q", people, err, o.asked)
	}
	letters, err := c.DeadLetters(t.Context(), "there.example", 7)
	want := DeadLetterList{[]DeadLetter{{Peer: fed.ClusterID{1}.String(), Inbound: true, Type: fed.TypeMessage.String(), Event: o.letters[0].ID.String(), Lane: 3, Sequence: 9,
		Code: "forbidden", Text: "not yours", Time: time.UnixMilli(1_000).UTC()}}}
	if diff := cmp.Diff(want, letters); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestFederationRequests(t *testing.T) {
	o := someOffices()
	c, log := startFederation(t, o)
	ctx := t.Context()
	self, err := c.InitFederation(ctx, FederationNaming{Domain: "here.example", Office: "Here", Endpoints: []string{"a:1"}})
	if diff := cmp.Diff(o.about, self); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	invitation, err := c.Invite(ctx, time.Hour)
	if err != nil || invitation.Code != o.invited.Code() || invitation.Fingerprint != o.invited.Root.String() || invitation.Expires.Unix() != 2_000_000_000 {
		t.Errorf("%+v, %v", invitation, err)
	}
	met, err := c.AcceptInvitation(ctx, InvitationUse{Code: "ttf1-secret", Proxy: "p:3128"})
	if diff := cmp.Diff(Introduced{o.peer, o.about}, met); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	quota, dial, none := uint64(5), true, ""
	_, err = c.RotateKey(ctx, true)
	err = errors.Join(err,
		c.ConfirmPeer(ctx, Confirmation{Peer: "there", Fingerprint: "CCCC", In: []string{"all"}, Out: []string{"direct", "directory"}}),
		c.SetPolicy(ctx, PolicyChange{Peer: "there", In: &[]string{"none"}, Quota: &quota, DialOnly: &dial, Proxy: &none}),
		c.PausePeer(ctx, "there"), c.ResumePeer(ctx, "there"), c.ResumeRestored(ctx), c.RemovePeer(ctx, "there"))
	if err != nil {
		t.Error(err)
	}
	want := []string{"init {here.example Here [a:1]}", "invite 1h0m0s", `accept ttf1-secret by "p:3128"`, "rotate true", "confirm there CCCC 11111 10001",
		`policy there 00000 - 5 "" true`, "pause there", `resume "there" false`, `resume "" true`, "remove there"}
	if diff := cmp.Diff(want, o.asked); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(log.String(), "ttf1-") || !strings.Contains(log.String(), "change=remove peer=there") {
		t.Errorf("log: %s", log)
	}
}

func TestFederationRefusals(t *testing.T) {
	o := someOffices()
	c, log := startFederation(t, o)
	for path, body := range map[string]string{"federation/pause": `{}`, "federation/invite": `{"for":"soon"}`, "federation/confirm": `{"peer":"x","in":["everything"]}`,
		"federation/policy": `{"peer":"x","out":["alles"]}`, "federation/accept": `{"cod":"x"}`} {
		if status := o.refused(t, c, "POST", path, body); status != http.StatusBadRequest {
			t.Errorf("%s %s: %d", path, body, status)
		}
	}
	if status := o.refused(t, c, "GET", "federation/deadletters?peer=x&limit=1001", ""); status != http.StatusBadRequest {
		t.Errorf("too many dead letters: %d", status)
	}
	if status := o.refused(t, c, "GET", "federation/people?text=x&limit=51", ""); status != http.StatusBadRequest {
		t.Errorf("too many people: %d", status)
	}
	if len(o.asked) > 0 {
		t.Errorf("something was done: %q", o.asked)
	}
	o.fail = protocol.Errorf(protocol.CodeNotFound, "no identity")
	var refused *Error
	if err := c.PausePeer(t.Context(), "there"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound || refused.Message != "no identity" {
		t.Errorf("%v", err)
	}
	if strings.Contains(log.String(), "changed by operator") {
		t.Errorf("what was refused is logged as done: %s", log)
	}
}

// refused is the status that a request is answered with.
func (o *offices) refused(t *testing.T, c *Client, method, path, body string) int {
	t.Helper()
	req, err := c.request(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.do(req)
	if err == nil {
		resp.Body.Close()
		return resp.StatusCode
	}
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	return refused.Status
}

func TestWithoutFederation(t *testing.T) {
	c, _ := startFederation(t, nil)
	var refused *Error
	if _, err := c.Federation(t.Context()); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("%v", err)
	}
}
