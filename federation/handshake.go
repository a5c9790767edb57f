package federation

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// helloWait is how long either side may take to say hello.
const helloWait = 10 * time.Second

// hello is what both sides know of each other after the first frames.
type hello struct {
	fed.Hello
	manifest fed.Manifest
	version  uint16
}

// farewell is a connection that the other side ended with a reason.
type farewell struct{ fed.Goodbye }

// farewellOf keeps no more of a reason than is shown.
func farewellOf(g fed.Goodbye) *farewell {
	g.Text = protocol.Truncate(g.Text, maxReason)
	return &farewell{g}
}

// Error tells why.
func (f *farewell) Error() string {
	if f.Text != "" {
		return "the peer says: " + f.Text
	}
	return fmt.Sprintf("the peer said goodbye (%d)", f.Reason)
}

// greet sends a hello and reads the other side's [FED-TR-6]. certificate is the key of the other side's certificate: it has to be in the manifest.
func greet(w Wire, own fed.Hello, certificate ed25519.PublicKey) (*hello, error) {
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindHello, own)); err != nil {
		return nil, err
	}
	return readHello(w, own.Versions, certificate)
}

func readHello(w Wire, versions fed.Versions, certificate ed25519.PublicKey) (*hello, error) {
	timer := time.AfterFunc(helloWait, func() { _ = w.Close() })
	defer timer.Stop()
	f, err := w.Read()
	if err != nil {
		return nil, fmt.Errorf("read the peer's hello: %w", err)
	}
	switch f.Kind {
	case fed.KindHello:
	case fed.KindGoodbye:
		var g farewell
		if err := f.Into(&g.Goodbye); err != nil {
			return nil, err
		}
		return nil, farewellOf(g.Goodbye)
	default:
		return nil, protocol.Errorf(protocol.CodeInvalid, "the peer did not begin with a hello")
	}
	var h hello
	if err := f.Into(&h.Hello); err != nil {
		return nil, err
	}
	if h.manifest, err = h.Manifest.Open(); err != nil {
		return nil, err
	}
	if _, known := h.manifest.LinkKeys()[fed.KeyIDOf(certificate)]; !known {
		return nil, errIntercepted
	}
	h.version = versions.Common(h.Versions)
	return &h, nil
}

var errIntercepted = errors.New("the certificate is not of the peer: the connection is intercepted (TLS inspection?), or the peer's keys have changed")

// shown is what counts of the certificate that the other side has shown.
type shown struct {
	key     ed25519.PublicKey
	expires time.Time
}

// shownBy reads the only certificate that a side may show: an Ed25519 one; whose it is, the manifest tells.
func shownBy(certs []*x509.Certificate) (s shown, err error) {
	if len(certs) == 0 {
		return s, errors.New("the peer shows no certificate")
	}
	key, ok := certs[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return s, errIntercepted
	}
	return shown{key, certs[0].NotAfter}, nil
}

// check is why a peer's hello is not taken; nil if it is. known is what this side keeps of the peer, nil if nothing.
func (h *hello) check(self fed.ClusterID, known *fed.Peer) *fed.Goodbye {
	switch {
	case h.Destination != self:
		return &fed.Goodbye{Reason: fed.ReasonIdentity, Text: fmt.Sprintf("this is cluster %v, not %v", self, h.Destination)}
	case h.version == 0:
		return &fed.Goodbye{Reason: fed.ReasonVersion, Text: fmt.Sprintf("this side speaks versions %d to %d of the protocol", fed.Current().Least, fed.Current().Most)}
	case known == nil || known.State == fed.PeerKnown || known.State == fed.PeerRemoved:
		return &fed.Goodbye{Reason: fed.ReasonNotConfirmed, Text: "this cluster is not known here: an invitation comes first"}
	}
	before, err := known.Manifest.Open()
	if err == nil {
		err = h.manifest.Follows(&before, bytes.Equal(h.Manifest.Manifest, known.Manifest.Manifest))
	}
	switch {
	case err != nil:
		return &fed.Goodbye{Reason: fed.ReasonIdentity, Text: err.Error()}
	case known.State == fed.PeerPaused:
		return &fed.Goodbye{Reason: fed.ReasonPaused, Text: "the link is paused at this side"}
	case known.State != fed.PeerConfirmed:
		return &fed.Goodbye{Reason: fed.ReasonNotConfirmed, Text: "the link is not confirmed at this side yet"}
	}
	return nil
}
