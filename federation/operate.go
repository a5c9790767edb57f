package federation

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"slices"
	"strconv"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	attempts     = 5                   // to change a record that others change, too
	verifyFor    = 30 * 24 * time.Hour // a former link key is still good for what it has signed [FED-ID-3]
	maxFormer    = 6                   // former link keys in a manifest
	maxEndpoints = 16                  // in a manifest
)

var (
	errNoIdentity = protocol.Errorf(protocol.CodeNotFound, "this cluster is not known to others yet: `teamtalkd federation init`")
	errRestored   = protocol.Errorf(protocol.CodeUnavailable,
		"this cluster was restored from a backup, or recovered: all links are down until it is sure that the former one is gone: then run `teamtalkd federation resume --restored`")
)

// Init makes this cluster one that others can know, or changes what it is called and where it is reached: what is empty stays [FED-ID-1].
func (m *Manager) Init(ctx context.Context, n Naming) error {
	if err := checkEndpoints(n.Endpoints); err != nil {
		return err
	}
	id, err := m.cfg.State.FedIdentity()
	if err != nil {
		return err
	}
	if id == nil {
		return m.found(ctx, n)
	}
	return m.editIdentity(ctx, func(id *fed.Identity, mf *fed.Manifest) error {
		if n.Domain != "" {
			mf.Domain = n.Domain
		}
		if n.Office != "" {
			mf.Office = n.Office
		}
		if len(n.Endpoints) > 0 {
			mf.Endpoints, id.Fixed = n.Endpoints, true
		}
		return m.freeDomain(mf.Domain, mf.Cluster)
	})
}

// found makes the keys and the first manifest.
func (m *Manager) found(ctx context.Context, n Naming) error {
	c, err := m.cfg.State.Cluster()
	if err != nil {
		return err
	}
	if err := m.freeDomain(n.Domain, c.ID); err != nil {
		return err
	}
	id := fed.Identity{Epoch: 1, History: c.History, Fixed: len(n.Endpoints) > 0}
	_, _ = rand.Read(id.Root[:])
	id.Keys = []fed.OwnKey{newKey(fed.KeyActive), newKey(fed.KeyNext)}
	endpoints := n.Endpoints
	if len(endpoints) == 0 {
		endpoints = m.configured()
	}
	mf := fed.Manifest{Cluster: c.ID, Serial: 1, Domain: n.Domain, Office: n.Office, Endpoints: endpoints}
	if err := sign(&id, &mf); err != nil {
		return err
	}
	if _, err = m.cfg.State.Execute(ctx, &protocol.SetIdentity{Identity: encodeRecord(id)}); err != nil {
		return err
	}
	m.changed()
	return nil
}

// sign makes the manifest say what the identity is, and signs it.
func sign(id *fed.Identity, mf *fed.Manifest) error {
	root := ed25519.NewKeyFromSeed(id.Root[:])
	mf.Root, mf.Versions, mf.Keys = publicOf(root), fed.Current(), nil
	for _, k := range id.Keys {
		mf.Keys = append(mf.Keys, fed.LinkKey{Public: publicOf(ed25519.NewKeyFromSeed(k.Seed[:])), Purpose: k.Purpose})
	}
	id.Manifest = fed.SignManifest(mf, root)
	_, err := id.Manifest.Open() // says what is wrong with the names
	return err
}

func publicOf(k ed25519.PrivateKey) [ed25519.PublicKeySize]byte {
	return [ed25519.PublicKeySize]byte(k[ed25519.SeedSize:])
}

func newKey(p fed.Purpose) fed.OwnKey {
	k := fed.OwnKey{Purpose: p, Since: protocol.TimeOf(time.Now())}
	_, _ = rand.Read(k.Seed[:])
	return k
}

// configured is where others reach this cluster by the configuration.
func (m *Manager) configured() []string {
	if m.cfg.Endpoints == nil {
		return nil
	}
	endpoints := slices.Clone(m.cfg.Endpoints())
	slices.Sort(endpoints)
	endpoints = slices.Compact(endpoints)
	return endpoints[:min(len(endpoints), maxEndpoints)]
}

// checkEndpoints refuses what nobody could dial.
func checkEndpoints(endpoints []string) error {
	if len(endpoints) > maxEndpoints {
		return protocol.Errorf(protocol.CodeInvalid, "%d endpoints: at most %d", len(endpoints), maxEndpoints)
	}
	for _, e := range endpoints {
		if err := checkAddress("endpoint", e); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(what, address string) error {
	host, port, err := net.SplitHostPort(address)
	n, numeric := strconv.ParseUint(port, 10, 16)
	if err != nil || numeric != nil || n == 0 || host == "" || protocol.CheckName(what, address, fed.MaxDomain+6) != nil {
		return protocol.Errorf(protocol.CodeInvalid, "%s %q: it is host:port, as chat.hangzhou.example:443", what, address)
	}
	return nil
}

// editIdentity changes what this cluster is to others; the manifest gets the next serial [FED-ID-2].
func (m *Manager) editIdentity(ctx context.Context, change func(*fed.Identity, *fed.Manifest) error) error {
	var err error
	for range attempts {
		id, mf, readErr := m.identity()
		if readErr != nil {
			return readErr
		}
		was := mf.Serial
		if err := change(id, &mf); err != nil {
			return err
		}
		mf.Serial = max(mf.Serial, was+1)
		if err := sign(id, &mf); err != nil {
			return err
		}
		if _, err = m.cfg.State.Execute(ctx, &protocol.SetIdentity{Identity: encodeRecord(id), After: was}); err == nil {
			m.changed()
			return nil
		}
		if _, now, readErr := m.identity(); readErr != nil || now.Serial == was {
			return err
		}
	}
	return err
}

// identity is what this cluster is to others; errNoIdentity if it is nothing.
func (m *Manager) identity() (*fed.Identity, fed.Manifest, error) {
	id, err := m.cfg.State.FedIdentity()
	if err != nil {
		return nil, fed.Manifest{}, err
	}
	if id == nil {
		return nil, fed.Manifest{}, errNoIdentity
	}
	mf, err := id.Manifest.Open()
	return id, mf, err
}

// isRestored reports whether the cluster's history is another one than when the epoch of the outbox began: it has lost state [FED-EP-1].
func (m *Manager) isRestored(id *fed.Identity) (bool, error) {
	c, err := m.cfg.State.Cluster()
	return c.History != id.History, err
}

// working is the identity of a cluster whose links may be up.
func (m *Manager) working() (*fed.Identity, fed.Manifest, error) {
	id, mf, err := m.identity()
	if err != nil {
		return nil, mf, err
	}
	restored, err := m.isRestored(id)
	if err == nil && restored {
		err = errRestored
	}
	return id, mf, err
}

// Self is this cluster as others know it; CodeNotFound before Init.
func (m *Manager) Self() (About, error) {
	id, mf, err := m.identity()
	if err != nil {
		return About{}, err
	}
	restored, err := m.isRestored(id)
	if err != nil {
		return About{}, err
	}
	a := About{Cluster: mf.Cluster.String(), Domain: mf.Domain, Office: mf.Office, Fingerprint: fed.FingerprintOf(mf.Root).String(), Endpoints: mf.Endpoints,
		Serial: mf.Serial, Epoch: id.Epoch, Restored: restored}
	for i, k := range mf.Keys {
		view := KeyView{ID: keyName(k.Public), Purpose: purposeName(k.Purpose), Since: id.Keys[i].Since.Std()}
		if k.Purpose == fed.KeyActive {
			a.Key = view.ID
		}
		a.Keys = append(a.Keys, view)
	}
	return a, nil
}

// RotateKey puts the next link key into use and publishes another next one. The former one is kept for what it has signed; now leaves it out at once:
// it was compromised, and what it signed and is not committed at a peer yet will be rejected there [FED-ID-3].
func (m *Manager) RotateKey(ctx context.Context, now bool) error {
	return m.editIdentity(ctx, func(id *fed.Identity, _ *fed.Manifest) error {
		var keys []fed.OwnKey
		t := protocol.TimeOf(time.Now())
		former := 0
		for _, k := range id.Keys {
			switch {
			case k.Purpose == fed.KeyNext:
				k.Purpose, k.Since = fed.KeyActive, t
				keys = append(keys, k)
			case k.Purpose == fed.KeyVerify, !now:
				if k.Purpose == fed.KeyActive {
					k.Since = t
				}
				k.Purpose = fed.KeyVerify
				keys = append(keys, k)
				former++
			}
		}
		if former > maxFormer {
			return protocol.Errorf(protocol.CodeRateLimited, "the link key was changed %d times in %d days: former keys are kept that long for what they have signed; leave out one that was stolen with --now",
				maxFormer, int(verifyFor.Hours()/24))
		}
		keys = append(keys, newKey(fed.KeyNext))
		id.Keys = keys
		return nil
	})
}

// outdated reports whether there are former keys whose time is over, and takes them out.
func outdated(id *fed.Identity, now time.Time) bool {
	before := len(id.Keys)
	id.Keys = slices.DeleteFunc(id.Keys, func(k fed.OwnKey) bool {
		return k.Purpose == fed.KeyVerify && now.Sub(k.Since.Std()) >= verifyFor
	})
	return len(id.Keys) != before
}

// reopen begins a new epoch of the outbox after this cluster was restored: an operator says that the former one is gone [FED-EP-1].
func (m *Manager) reopen(ctx context.Context) error {
	return m.editIdentity(ctx, func(id *fed.Identity, mf *fed.Manifest) error {
		c, err := m.cfg.State.Cluster()
		if err != nil {
			return err
		}
		if c.History == id.History {
			return protocol.Errorf(protocol.CodeInvalid, "this cluster was not restored: there is nothing to resume; for a link that is paused, name its peer")
		}
		now := uint64(protocol.TimeOf(time.Now()))
		// The lost part may have had later manifests than the backup: peers would take one with a serial of theirs for a forgery.
		id.Epoch, id.History, mf.Serial = max(now, id.Epoch+1), c.History, max(now, mf.Serial+1)
		return nil
	})
}
