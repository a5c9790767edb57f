package state

import (
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// GroupDomain is the domain of the cluster that orders a group of another one, as it is called now; NotFound for other groups.
func (q *Queries) GroupDomain(g protocol.GroupID) (domain string, err error) {
	err = q.view(func(t *txn) error {
		home, _, ok, err := t.ref(aliasGroup, uint32(g))
		if err != nil {
			return err
		}
		var p fed.Peer
		if ok {
			ok, err = t.readRow(bPeer, home[:], &p)
		}
		if err != nil {
			return err
		}
		if !ok {
			return notFound("group %d is of no other cluster", g)
		}
		manifest, err := p.Manifest.Open()
		domain = manifest.Domain
		return err
	})
	return domain, err
}
