package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// introduceWait is how long somebody who is not known may take to show an invitation.
const introduceWait = 2 * time.Second

// hearIntroduction lets a cluster that is not confirmed use an invitation; without one it hears goodbye [FED-ON-1].
func (m *Manager) hearIntroduction(ctx context.Context, own *self, w Wire, h *hello, known *fed.Peer, bye fed.Goodbye) error {
	frames := make(chan fed.Frame, 1) // closed without one if there is none
	read := make(chan struct{})
	go func() { // ends with the connection, which is waited for below
		defer close(read)
		defer close(frames)
		if f, err := w.Read(); err == nil {
			frames <- f
		}
	}()
	defer func() { _ = w.Close(); <-read }()
	timer := time.NewTimer(introduceWait)
	defer timer.Stop()
	var err error
	select {
	case f, ok := <-frames:
		if !ok {
			return errors.New(bye.Text)
		}
		err = m.judgeIntroduction(ctx, own, h, known, &f)
	case <-timer.C:
		m.sayLast(w, read, fed.NewFrame(fed.KindGoodbye, bye))
		return errors.New(bye.Text)
	}
	if err != nil {
		m.log.Warn("an introduction is refused", "cluster", h.manifest.Cluster.String(), "domain", h.manifest.Domain, "remote", w.RemoteAddr().String(), "error", err)
		part(w, fed.Goodbye{Reason: fed.ReasonInvitation, Text: err.Error()})
		return err
	}
	m.log.Info("a cluster was introduced: it waits for an operator to confirm it", "cluster", h.manifest.Cluster.String(), "domain", h.manifest.Domain,
		"fingerprint", fed.FingerprintOf(h.manifest.Root).String())
	hi := fed.Hello{Manifest: own.identity.Manifest, Destination: h.manifest.Cluster, Versions: fed.Current(), Epoch: own.identity.Epoch,
		Time: protocol.TimeOf(time.Now()), Program: m.cfg.Program}
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindHello, hi)); err != nil {
		return err
	}
	part(w, fed.Goodbye{Reason: fed.ReasonNotConfirmed, Text: "introduced; both sides have to confirm now"})
	return nil
}

// sayLast writes a frame and waits for the other side to close.
func (m *Manager) sayLast(w Wire, read <-chan struct{}, f fed.Frame) {
	timer := time.NewTimer(partWait)
	defer timer.Stop()
	stop := time.AfterFunc(partWait, func() { _ = w.Close() })
	defer stop.Stop()
	if w.Write(fed.LaneControl, f) != nil {
		return
	}
	select {
	case <-read:
	case <-timer.C:
	}
}

var errInvitation = protocol.Errorf(protocol.CodeForbidden, "there is no such invitation: it was used, it has expired, or the code was copied wrongly")

// judgeIntroduction finds the invitation that a cluster has, and keeps the cluster as introduced [FED-ON-3].
func (m *Manager) judgeIntroduction(ctx context.Context, own *self, h *hello, known *fed.Peer, f *fed.Frame) error {
	var in fed.Introduce
	if f.Kind != fed.KindIntroduce {
		return protocol.Errorf(protocol.CodeInvalid, "this cluster is not known here: an invitation comes first")
	}
	if err := f.Into(&in); err != nil {
		return err
	}
	hashes, err := m.cfg.State.Invitations()
	if err != nil {
		return err
	}
	peer := h.manifest.Cluster
	for _, hash := range hashes {
		if !fed.ProofHolds(in.Proof, fed.Prove(hash, own.cluster, peer, &h.Manifest)) {
			continue
		}
		var next fed.Peer
		var after uint32
		if known != nil {
			next, after = *known, known.Version
		}
		next.Manifest, next.State, next.In, next.Out = h.Manifest, fed.PeerIntroduced, 0, 0
		return m.putPeer(ctx, peer, &next, after, hash)
	}
	return errInvitation
}

// introduce uses an invitation: it returns the manifest of the cluster that gave it, whose root key is the one that the invitation names.
func (m *Manager) introduce(ctx context.Context, inv fed.Invitation, proxy string) (fed.SignedManifest, error) {
	own, err := m.readSelf()
	switch {
	case err != nil:
		return fed.SignedManifest{}, err
	case own == nil:
		return fed.SignedManifest{}, protocol.Errorf(protocol.CodeInvalid, "this cluster has no identity yet: `teamtalkd federation init` comes first")
	}
	var all []error
	for _, endpoint := range inv.Endpoints {
		signed, err := m.introduceAt(ctx, own, &inv, endpoint, proxy)
		if err == nil {
			return signed, nil
		}
		all = append(all, fmt.Errorf("%s: %w", endpoint, err))
		var bye *farewell
		if errors.As(err, &bye) && bye.Reason != fed.ReasonElsewhere {
			break
		}
	}
	return fed.SignedManifest{}, protocol.Errorf(protocol.CodeUnavailable, "the introduction failed: %w", errors.Join(all...))
}

func (m *Manager) introduceAt(ctx context.Context, own *self, inv *fed.Invitation, endpoint, proxy string) (s fed.SignedManifest, err error) {
	conf, err := m.papers.client(own)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	w, certs, err := m.cfg.Dialer.Dial(ctx, endpoint, proxy, conf)
	if err != nil {
		return s, err
	}
	defer func() { _ = w.Close() }()
	closed := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer closed()
	cert, err := shownBy(certs)
	if err != nil {
		return s, err
	}
	hi := fed.Hello{Manifest: own.identity.Manifest, Destination: inv.Cluster, Versions: fed.Current(), Epoch: own.identity.Epoch,
		Time: protocol.TimeOf(time.Now()), Program: m.cfg.Program}
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindHello, hi)); err != nil {
		return s, err
	}
	proof := fed.Introduce{Proof: fed.Prove(inv.SecretHash(), inv.Cluster, own.cluster, &hi.Manifest)}
	if err := w.Write(fed.LaneControl, fed.NewFrame(fed.KindIntroduce, proof)); err != nil {
		return s, err
	}
	h, err := readHello(w, fed.Current(), cert.key)
	switch {
	case err != nil:
		return s, err
	case h.manifest.Cluster != inv.Cluster || fed.FingerprintOf(h.manifest.Root) != inv.Root:
		return s, protocol.Errorf(protocol.CodeForbidden, "the cluster that answers is not the one that gave the invitation (its fingerprint is %v)", fed.FingerprintOf(h.manifest.Root))
	case h.Destination != own.cluster:
		return s, protocol.Errorf(protocol.CodeForbidden, "the answer is for another cluster")
	}
	return h.Manifest, nil
}
