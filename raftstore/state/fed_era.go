package state

import (
	"sort"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// era is a stretch of this cluster's log, told apart from what the log had at the same places before the cluster was restored [FED-EP-1].
type era struct {
	Era  uint64 `cbor:"1,keyasint"` // the epoch of the outbox that began it
	From uint64 `cbor:"2,keyasint"` // log index
}

// eraOf is the era of an index of this cluster's log: 0 before the first restore.
func (a *abroad) eraOf(index uint64) uint64 {
	n := sort.Search(len(a.eras), func(i int) bool { return a.eras[i].From > index })
	if n == 0 {
		return 0
	}
	return a.eras[n-1].Era
}

// era is the present one.
func (a *abroad) era() uint64 {
	if len(a.eras) == 0 {
		return 0
	}
	return a.eras[len(a.eras)-1].Era
}

// eventID is what happens at a position of this cluster's log is called everywhere.
func (m *machine) eventID(at protocol.Position) fed.EventID {
	return fed.NewEventID(m.abroad.self, m.abroad.eraOf(at.Index), at)
}

// own reports whether an event id of this cluster's is of its present history: then the log has it at its position.
func (a *abroad) own(e fed.EventID) bool {
	return e.Cluster == a.self && e.Era == a.eraOf(e.Index)
}

// beginEra has what happens from here on called by ids of its own; what happened since the cluster was restored, too: nothing of that went abroad.
func (m *machine) beginEra(s *step, epoch uint64) error {
	from := s.number(metaLost)
	if from == 0 {
		from = s.at.Index
	}
	m.abroad.eras = append(m.abroad.eras, era{epoch, from})
	if err := s.drop(bMeta, []byte(metaLost)); err != nil {
		return err
	}
	return s.putRow(bMeta, []byte(metaEras), m.abroad.eras)
}

// readLoss finds out whether the cluster was restored or recovered, and nobody has said yet that the former one is gone: then nothing of it goes
// abroad, as its numbers would be taken for those of what was lost. lost is from the first command of its own on; before that, what the log still holds of the
// former history is executed as it was there.
func (a *abroad) readLoss(t *txn, c *protocol.Cluster, id *fed.Identity) {
	a.renewed = -1
	if id.History != [16]byte{} && id.History != c.History {
		a.renewed = protocol.Time(t.number(metaRenewed))
	}
	a.lost = a.renewed >= 0 && t.number(metaLost) != 0
}

// noteLoss notes where in the log the former history ends, as it is known here: behind its last message. What a place behind that meant in the former cluster is not known.
func (m *machine) noteLoss(s *step) error {
	if m.abroad.lost || m.abroad.epoch == 0 || m.abroad.renewed < 0 || s.now < m.abroad.renewed {
		return nil
	}
	m.abroad.lost = true
	from := uint64(1)
	if k, _ := s.bucket(bLog).Cursor().Last(); len(k) == positionLen {
		from = positionOf(k).Index + 1
	}
	return s.setNumber(metaLost, from)
}
