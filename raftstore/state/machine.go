package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/raftstore"
)

// formatVersion is the version of the layout. Open brings older databases to it.
//
//	1 the first
//	2 bRevoked, User.Revoked, messages with extras, metaCluster
//	3 bDeletion, bUnburned, bDue, metaBurning, metaDeleted, rows of deleted messages
const formatVersion = 3

// machine executes commands. All it keeps in memory repeats what the database says, so that a node that was restarted,
// and one that was not, go on alike. Everything but members belongs to the engine's apply goroutine.
type machine struct {
	program string // name and version, for whoever meets the database later
	span    int    // of the dedupe window
	tx      *bbolt.Tx
	cur     *txn
	time    protocol.Time // of the last command that stored a time: time never moves back
	status  map[protocol.UserID]protocol.UserStatus
	heads   map[protocol.Conversation]head
	members *memberCache
	window  *dedupeWindow
	burns   bool           // messages sent from here on burn: BurnDue came
	highest protocol.Level // what this program may use
	level   atomic.Uint32  // what the cluster uses; written by the apply goroutine only
	abroad  abroad
}

var _ raftstore.Machine = (*machine)(nil)

func newMachine(program string, span int, highest protocol.Level) *machine {
	return &machine{program: program, span: span, members: newMemberCache(), highest: highest}
}

// Names of rows in bMeta.
const (
	metaFormat  = "format"
	metaProgram = "program"
	metaTime    = "time"
	metaUsers   = "last-user"
	metaGroups  = "last-group"
	metaDepts   = "last-dept"
	metaCount   = "user-count"
	metaWindow  = "dedupe-window"
	metaSweep   = "dedupe-sweep"
	metaCluster = "cluster"       // cluster row; there is none before FoundCluster
	metaRevoked = "revoked-sweep" // where the next sweep of bRevoked begins
	metaBurning = "burning"       // burning row; there is none before BurnDue
	metaDeleted = "last-deletion" // Position; nothing after it need be looked for in bDeletion
	metaBlobs   = "blob-bytes"    // of all blobs that a node has
	metaLevel   = "level"         // what the cluster uses; see txn.level for when there is none

	metaIdentity    = "fed-identity" // fed.Identity; there is none before SetIdentity
	metaAliasUsers  = "fed-users"    // aliases given
	metaAliasGroups = "fed-groups"
	metaEras        = "fed-eras"    // []era; there is none before the first restore
	metaRenewed     = "fed-renewed" // when the cluster was recovered, see abroad.readLoss
	metaLost        = "fed-lost"    // log index behind the former history of a cluster that was restored, until it begins a new epoch
)

// Open prepares the buckets of a new database, migrates one of an older format, refuses one of a newer, and reads what is
// kept in memory: a bounded number of rows, however large the database is.
func (m *machine) Open(tx *bbolt.Tx) error {
	t := &txn{tx: tx}
	if err := m.checkFormat(t); err != nil {
		return err
	}
	if err := m.adoptLevel(t); err != nil {
		return err
	}
	m.tx, m.cur = nil, nil
	m.status = make(map[protocol.UserID]protocol.UserStatus)
	m.heads = make(map[protocol.Conversation]head)
	m.members.reset()
	m.burns = t.row(bMeta, []byte(metaBurning)) != nil
	var err error
	if m.time, err = t.newestTime(); err != nil {
		return err
	}
	if m.abroad, err = openAbroad(t); err != nil {
		return err
	}
	m.window, err = openDedupe(t, m.span)
	return err
}

func (m *machine) checkFormat(t *txn) error {
	if t.tx.Bucket([]byte(bMeta.name())) == nil {
		return m.create(t)
	}
	switch v := t.number(metaFormat); v {
	case formatVersion, 1, 2:
		return m.create(t) // what came since then is new buckets and rows only; empty ones are nothing to an older program
	default:
		return fmt.Errorf("the state is of format %d, made by %q, and this is %q, which knows format %d: run a version that knows format %d, or start with an empty data directory",
			v, t.row(bMeta, []byte(metaProgram)), m.program, formatVersion, v)
	}
}

// create makes the buckets that are missing, and the database one of this program's format.
func (m *machine) create(t *txn) error {
	for id := range numBuckets {
		if _, err := t.tx.CreateBucketIfNotExists([]byte(id.name())); err != nil {
			return fmt.Errorf("create bucket %s: %w", id.name(), err)
		}
	}
	if err := t.put(bMeta, []byte(metaProgram), []byte(m.program)); err != nil {
		return err
	}
	return t.setNumber(metaFormat, formatVersion)
}

func (t *txn) number(name string) uint64 {
	if b := t.row(bMeta, []byte(name)); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (t *txn) setNumber(name string, n uint64) error {
	b := t.room(8)
	binary.BigEndian.PutUint64(b, n)
	return t.put(bMeta, []byte(name), b)
}

// newestTime is that of the last command that stored one: time never moves back, so it is that of the last message or in bMeta.
func (t *txn) newestTime() (protocol.Time, error) {
	newest := protocol.Time(t.number(metaTime))
	if k, v := t.bucket(bLog).Cursor().Last(); k != nil {
		row, err := unpackMessage(v)
		if err != nil {
			return 0, badRow(bLog, k, err)
		}
		newest = max(newest, row.time)
	}
	return newest, nil
}

// step is one command on its way into the state.
type step struct {
	*txn
	at     protocol.Position
	now    protocol.Time
	events []protocol.Event
	forget bool // the log up to here holds content that is to go [TT-DEL-7]
	// dropped are the blobs that nobody needs any more.
	dropped []protocol.BlobID
}

func (s *step) emit(body protocol.EventBody) {
	s.events = append(s.events, protocol.Event{At: s.at, Body: body})
}

// Apply executes a command. Each command checks all its rules before it writes anything, so a refusal leaves no trace.
func (m *machine) Apply(tx *bbolt.Tx, at protocol.Position, timeMs int64, cmd []byte) (raftstore.Applied, error) {
	if m.tx != tx {
		m.tx, m.cur = tx, &txn{tx: tx}
	}
	s := &step{txn: m.cur, at: at, now: max(m.time, protocol.Time(timeMs))}
	c, err := decodeCommand(cmd)
	var result any
	if err == nil {
		err = m.noteLoss(s)
	}
	if err == nil {
		err = m.mayUse(c)
	}
	if err == nil {
		result, err = m.execute(s, c)
	}
	var refusal *protocol.Error
	switch {
	case errors.As(err, &refusal):
		return raftstore.Applied{Result: refusal}, nil
	case err != nil:
		return raftstore.Applied{}, fmt.Errorf("apply at %v: %w", at, err)
	}
	if len(s.dropped) > 0 {
		s.emit(protocol.BlobsDropped{IDs: s.dropped})
	}
	a := raftstore.Applied{Result: result, Events: s.events}
	if s.forget {
		a.Forget = at.Index
	}
	return a, nil
}

// execute does not list a command's rules: they are with the command's family.
func (m *machine) execute(s *step, cmd protocol.Command) (any, error) {
	switch c := cmd.(type) {
	case *protocol.SendMessage:
		return m.sendMessage(s, c)
	case *protocol.MarkRead:
		return m.markRead(s, c)
	case *protocol.RemoveSession:
		return nil, m.removeSession(s, c)
	case *protocol.RegisterDevice:
		return nil, m.registerDevice(s, c)
	case *protocol.SetPushShield:
		return nil, m.setPushShield(s, c)
	case *protocol.ShieldGroup:
		return nil, m.shieldGroup(s, c)
	case *protocol.ChangeSign:
		return nil, m.changeSign(s, c)
	case *protocol.ChangeAvatar:
		return nil, m.changeAvatar(s, c)
	case *protocol.CreateGroup:
		return m.createGroup(s, c)
	case *protocol.ChangeMembers:
		return m.changeMembers(s, c)
	case *protocol.AddOfflineFile:
		return nil, m.addOfflineFile(s, c)
	case *protocol.DeleteOfflineFile:
		return nil, m.deleteOfflineFile(s, c)
	case *protocol.AddUsers:
		return m.addUsers(s, c)
	case *protocol.EditUser:
		return nil, m.editUser(s, c)
	case *protocol.SetPassword:
		return nil, m.setPassword(s, c)
	case *protocol.PutDepartment:
		return m.putDepartment(s, c)
	case *protocol.EditGroup:
		return nil, m.editGroup(s, c)
	case *protocol.FoundCluster:
		return m.foundCluster(s, c)
	case *protocol.RevokeSessions:
		return nil, m.revokeSessions(s, c)
	case *protocol.DeleteMessage:
		return nil, m.deleteMessage(s, c)
	case *protocol.BurnDue:
		return m.burnDue(s, c)
	case *protocol.RaiseLevel:
		return nil, m.raiseLevel(s, c)
	case *protocol.SetIdentity:
		return nil, m.setIdentity(s, c)
	case *protocol.AddInvitation:
		return nil, m.addInvitation(s, c)
	case *protocol.SetPeer:
		return nil, m.setPeer(s, c)
	case *protocol.ReceiveEvent:
		return m.receiveEvent(s, c)
	case *protocol.AckEvents:
		return nil, m.ackEvents(s, c)
	case *protocol.SweepFederation:
		return m.sweepFederation(s)
	case *protocol.AddAlias:
		return m.addAlias(s, c)
	case *protocol.ReceiveHistory:
		return m.receiveHistory(s, c)
	case *protocol.PutBlob:
		return m.putBlob(s, c)
	case *protocol.HoldBlobs:
		return m.holdBlobs(s, c)
	case *protocol.DropBlobs:
		return m.dropBlobs(s, c)
	}
	return nil, fmt.Errorf("no way to execute %T", cmd)
}

// stamp makes the command's time the state's. Messages need not call it: their row has the time.
func (m *machine) stamp(s *step) error {
	if s.now == m.time {
		return nil
	}
	m.time = s.now
	return s.setNumber(metaTime, uint64(s.now))
}

// nextID counts a counter of bMeta up.
func (s *step) nextID(name string) (uint32, error) {
	n := s.number(name) + 1
	if n >= protocol.MaxLocalID {
		return 0, protocol.Errorf(protocol.CodeQuota, "all ids are used up")
	}
	return uint32(n), s.setNumber(name, n)
}
