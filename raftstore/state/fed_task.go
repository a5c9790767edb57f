package state

import (
	"bytes"
	"math"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// taskKind is something that is done in steps, by sweeps.
type taskKind uint8

const (
	taskRename taskKind = 1 // people of a peer whose office or domain has another name
	taskRemove taskKind = 2 // what there is of a peer that was removed
	taskRetell taskKind = 3 // the groups that a peer is in, to it: it was restored, or had no room for them
)

// taskRow is how far a task is.
type taskRow struct {
	Due   protocol.Time `cbor:"1,keyasint,omitempty"`
	Stage uint8         `cbor:"2,keyasint,omitempty"`
	After []byte        `cbor:"3,keyasint,omitempty"` // key of the last row that was dealt with
}

func taskKey(k taskKind, peer fed.ClusterID) []byte { return slices.Concat([]byte{byte(k)}, peer[:]) }

// addTask plans something, and says so.
func (s *step) addTask(k taskKind, peer fed.ClusterID, row taskRow) error {
	s.tellQueued(peer)
	return s.putRow(bTask, taskKey(k, peer), row)
}

// planTasks looks at what follows from a change of what is kept of a peer.
func (m *machine) planTasks(s *step, id fed.ClusterID, known, next *fed.Peer) error {
	if known == nil {
		return nil
	}
	if next.Linked() {
		if err := s.drop(bTask, taskKey(taskRemove, id)); err != nil {
			return err
		}
	}
	if next.State == fed.PeerRemoved && known.State != fed.PeerRemoved {
		return s.addTask(taskRemove, id, taskRow{})
	}
	before, err := known.Manifest.Open()
	if err != nil {
		return err
	}
	now, err := next.Manifest.Open()
	if err != nil {
		return err
	}
	if before.Office != now.Office || before.Domain != now.Domain || known.Department != next.Department {
		return s.addTask(taskRename, id, taskRow{})
	}
	return nil
}

// peerEpoch is the newest epoch of a peer's outbox that anything came of; 0: nothing came yet.
func (a *abroad) peerEpoch(peer fed.ClusterID) (epoch uint64) {
	for l := fed.LaneControl; l <= fed.LaneLast; l++ {
		epoch = max(epoch, a.lanes[laneKey{peer, l}].epochIn)
	}
	return epoch
}

// peerBegins is for a peer that was restored: it may not know any more what it was told of groups. Who somebody is it is told anew by introduce.
func (m *machine) peerBegins(s *step, peer fed.ClusterID) error {
	return s.addTask(taskRetell, peer, taskRow{})
}

// workOnTasks goes on with what is due; it returns when the next one is.
func (m *machine) workOnTasks(s *step, left *int) (next protocol.Time, err error) {
	type task struct {
		kind taskKind
		peer fed.ClusterID
		row  taskRow
	}
	var tasks []task
	next = math.MaxInt64
	err = s.scan(bTask, nil, nil, func(key, b []byte) (bool, error) {
		var row taskRow
		if err := decodeRow(b, &row); err != nil || len(key) != 1+clusterLen {
			return true, badRow(bTask, key, err)
		}
		tasks = append(tasks, task{taskKind(key[0]), fed.ClusterID(key[1:]), row})
		return false, nil
	})
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		if t.row.Due > s.now {
			next = min(next, t.row.Due)
			continue
		}
		if *left <= 0 {
			return s.now, nil
		}
		work := map[taskKind]func(*step, fed.ClusterID, *taskRow, *int) (bool, error){taskRename: m.rename, taskRemove: m.removePeer, taskRetell: m.retell}[t.kind]
		done, err := work(s, t.peer, &t.row, left)
		if err != nil {
			return 0, err
		}
		if t.kind == taskRemove {
			*left = 0 // one in each sweep: a group changes its members once in a command
		}
		if done {
			err = s.drop(bTask, taskKey(t.kind, t.peer))
		} else {
			next, err = min(next, max(s.now, t.row.Due)), s.putRow(bTask, taskKey(t.kind, t.peer), t.row)
		}
		if err != nil {
			return 0, err
		}
	}
	return next, nil
}

// some reads at most n rows whose keys have a prefix, behind the one that a task was at.
func (t *txn) some(id bucketID, prefix, after []byte, n int) (keys, rows [][]byte, err error) {
	from := prefix
	if len(after) > 0 {
		from = append(bytes.Clone(after), 0)
	}
	err = t.scan(id, prefix, from, func(key, b []byte) (bool, error) {
		if len(keys) >= n {
			return true, nil
		}
		keys, rows = append(keys, bytes.Clone(key)), append(rows, bytes.Clone(b))
		return false, nil
	})
	return keys, rows, err
}

// people calls fn for some of a peer's people, and says whether these were the last.
func (m *machine) people(s *step, peer fed.ClusterID, row *taskRow, left *int, fn func(*userRow, *personRow) error) (bool, error) {
	first := refKey(peer, aliasUser, 0)
	n := max(*left/4, 1)
	keys, rows, err := s.some(bRef, first[:clusterLen+1], row.After, n)
	if err != nil {
		return false, err
	}
	for i := range keys {
		id, err := idOf[protocol.UserID](rows[i])
		if err != nil {
			return false, badRow(bRef, keys[i], err)
		}
		user, err := s.user(id)
		if err != nil {
			return false, err
		}
		person, err := s.personRow(id)
		if err != nil {
			return false, err
		}
		if err := fn(&user, &person); err != nil {
			return false, err
		}
		row.After = keys[i]
	}
	*left -= 4 * len(keys)
	return len(keys) < n, nil
}

// rename shows a peer's people under the new name of their office and domain [FED-AL-3].
func (m *machine) rename(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	home, err := m.homeOf(peer)
	if err != nil {
		return false, err
	}
	return m.people(s, peer, row, left, func(user *userRow, person *personRow) error {
		u := &user.User
		before := *u
		home.dress(u, &fed.Profile{Login: person.Login, Nick: person.Nick, Avatar: u.Avatar, Gender: u.Gender, Sign: u.Sign, Left: u.Status == protocol.StatusLeft})
		u.Department = home.department
		if *u == before {
			return nil
		}
		return m.savePerson(s, user, before.Updated)
	})
}

// Stages of the removal of a peer.
const (
	removeQueue uint8 = iota
	removeFromGroups
	removeGroups
	removePeople
	removeTold
	removeOffice
)

// removePeer takes away what there is of a peer [FED-ON-2]: what waits for it, its people in groups, its groups, and shows its people as left. What was said stays.
func (m *machine) removePeer(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	stages := []func(*step, fed.ClusterID, *taskRow, *int) (bool, error){m.dropQueue, m.dropFromGroups, m.dropGroups, m.dropPeople, m.dropTold}
	for *left > 0 {
		if row.Stage >= removeOffice {
			return true, m.dropOffice(s, peer)
		}
		done, err := stages[row.Stage](s, peer, row, left)
		if err != nil {
			return false, err
		}
		if done {
			row.Stage++
			row.After = nil
		}
	}
	return false, nil
}

func (m *machine) dropQueue(s *step, peer fed.ClusterID, _ *taskRow, left *int) (bool, error) {
	for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
		k := laneKey{peer, lane}
		l, known := m.abroad.lanes[k]
		if !known || l.swept == l.sent {
			continue
		}
		for l.swept < l.sent && *left > 0 {
			seq := l.swept + 1
			out, err := s.out(k, seq)
			if err != nil {
				return false, err
			}
			if seq > l.acked && (out.typ == fed.TypeMessage || out.typ == fed.TypePost) {
				if err := m.fateOf(s, out.message, fed.StateUndeliverable, "the link to that office was ended"); err != nil {
					return false, err
				}
			}
			key := outKey(k, seq)
			if err := s.drop(bOut, key[:]); err != nil {
				return false, err
			}
			if seq > l.acked {
				l.waiting -= min(l.waiting, uint64(len(out.event)))
			}
			l.swept, l.acked = seq, max(l.acked, seq)
			*left--
		}
		if err := m.putLane(s, k, l); err != nil {
			return false, err
		}
		if l.swept < l.sent {
			return false, nil
		}
	}
	return true, nil
}

// groupsWith are some groups of this cluster's that a peer has members in, behind the one that a task was at.
func (s *step) groupsWith(peer fed.ClusterID, row *taskRow, n int) (groups []protocol.GroupID, err error) {
	from := row.After
	if len(from) > 0 {
		from = append(bytes.Clone(from), 0)
	}
	err = s.scan(bSince, nil, from, func(key, _ []byte) (bool, error) {
		if len(key) != 4+clusterLen {
			return true, badRow(bSince, key, errRowLength)
		}
		if fed.ClusterID(key[4:]) != peer {
			return false, nil
		}
		g, err := idOf[protocol.GroupID](key[:4])
		groups = append(groups, g)
		return err != nil || len(groups) >= n, err
	})
	return groups, err
}

// groupCost is how much of a sweep a group of so many members is.
func groupCost(members int) int { return 16 + members/8 }

func (m *machine) dropFromGroups(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	for *left > 0 {
		groups, err := s.groupsWith(peer, row, 1)
		if err != nil || len(groups) == 0 {
			return true, err
		}
		g, err := m.liveGroup(s.txn, groups[0])
		if err != nil {
			return false, err
		}
		var gone []protocol.UserID
		for _, u := range g.members {
			if ref, err := m.userRef(s.txn, u); err != nil {
				return false, err
			} else if ref.Cluster == peer {
				gone = append(gone, u)
			}
		}
		*left -= groupCost(len(g.members))
		if _, err := m.changeAs(s, g, changeRow{Change: protocol.MembersDel, Changed: gone}, 0); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (m *machine) dropGroups(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	first := refKey(peer, aliasGroup, 0)
	for *left > 0 {
		keys, rows, err := s.some(bRef, first[:clusterLen+1], row.After, 1)
		if err != nil || len(keys) == 0 {
			return true, err
		}
		id, err := idOf[protocol.GroupID](rows[0])
		if err != nil {
			return false, badRow(bRef, keys[0], err)
		}
		row.After = keys[0]
		g, err := s.group(id)
		if err != nil {
			return false, err
		}
		members, err := s.memberRows(id)
		if err != nil {
			return false, err
		}
		*left -= groupCost(len(members))
		for _, bucket := range []bucketID{bFork, bGap} {
			if err := s.drop(bucket, groupBytes(id)); err != nil {
				return false, err
			}
		}
		if g.Closed {
			continue
		}
		g.Version++
		g.Updated, g.Closed = s.now, true
		if err := m.exchangeMembers(s, &g, members, nil); err != nil {
			return false, err
		}
		if err := m.saveGroup(s, g, nil); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (m *machine) dropPeople(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	return m.people(s, peer, row, left, func(user *userRow, person *personRow) error {
		person.Own, person.Updated = false, 0 // so that his own cluster's next word counts, should there be a link again
		key := idKey(user.User.ID)
		if err := s.putRow(bPerson, key[:], person); err != nil {
			return err
		}
		before := user.User.Updated
		user.User.Status = protocol.StatusLeft
		return m.savePerson(s, user, before)
	})
}

func (m *machine) dropTold(s *step, peer fed.ClusterID, _ *taskRow, left *int) (bool, error) {
	n := max(*left, 1)
	keys, _, err := s.some(bTold, peer[:], nil, n)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		if err := s.drop(bTold, key); err != nil {
			return false, err
		}
	}
	*left -= len(keys)
	return len(keys) < n, nil
}

func (m *machine) dropOffice(s *step, peer fed.ClusterID) error {
	p := m.abroad.peers[peer]
	if p == nil || p.Department == 0 {
		return nil
	}
	d, err := s.department(p.Department)
	if protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	d.Deleted = true
	_, err = m.putDepartment(s, &protocol.PutDepartment{Department: d})
	return err
}

// roomAgain is how long it takes until somebody looks whether a peer's queue is shorter.
const roomAgain = 15 * 60 * 1000

// retell tells a peer the state of the groups that it is in, once there is room for that.
func (m *machine) retell(s *step, peer fed.ClusterID, row *taskRow, left *int) (bool, error) {
	if !m.linked(peer) {
		return true, nil
	}
	for *left > 0 {
		if m.abroad.waiting(peer) > m.abroad.peers[peer].Limit()/2 {
			row.Due = s.now + roomAgain
			return false, nil
		}
		groups, err := s.groupsWith(peer, row, 1)
		if err != nil || len(groups) == 0 {
			return true, err
		}
		g, err := m.liveGroup(s.txn, groups[0])
		if err != nil {
			return false, err
		}
		if err := m.tellGroupTo(s, &g.group, g.members, g.members, []fed.ClusterID{peer}); err != nil {
			return false, err
		}
		key := sinceKey(groups[0], peer)
		row.After = key[:]
		*left -= groupCost(len(g.members))
	}
	return false, nil
}
