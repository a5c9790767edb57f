package state

import (
	"context"
	"fmt"

	"teamtalk/protocol"
)

// Level is the highest level that this program knows.
//
//	1 all that was there before levels, but for what is in 2
//	2 recalling and burning: DeleteMessage, BurnDue, messages to be burned
//	3 federation: SetIdentity, and all that follows from it
//	4 media: PutBlob, HoldBlobs, DropBlobs, offline files with a blob, references of messages and profiles to blobs, files between offices
const Level = levelMedia

const (
	levelFirst      protocol.Level = 1
	levelDeleting   protocol.Level = 2
	levelFederation protocol.Level = 3
	levelMedia      protocol.Level = 4
)

// LevelError is why a node can't go on, or start: its cluster uses a level that its program does not know, or may not use.
type LevelError struct {
	Uses    protocol.Level // the cluster
	May     protocol.Level // this node
	Program string         // its version
}

// Held reports whether the program knows the level, and is held at a lower one.
func (e *LevelError) Held() bool { return e.Uses <= Level }

// Error says what to do.
func (e *LevelError) Error() string {
	if e.Held() {
		return fmt.Sprintf("the cluster uses level %d, and this node is held at level %d: let it use level %d", e.Uses, e.May, e.Uses)
	}
	return fmt.Sprintf("the cluster uses level %d, and version %q knows up to level %d: run the newer version", e.Uses, e.Program, Level)
}

// HighestLevel is what this program may use if it is held at some level, 0: at none.
func HighestLevel(held protocol.Level) protocol.Level {
	if held == 0 {
		return Level
	}
	return min(held, Level)
}

// checkLevel refuses a level above what this program may use: what came with it, it would not execute as the others do.
func (m *machine) checkLevel(level protocol.Level) error {
	if level <= m.highest {
		return nil
	}
	return &LevelError{Uses: level, May: m.highest, Program: m.program}
}

// level is what the cluster uses. Where nothing says so there were no levels yet: then it burns messages if it has begun to.
func (t *txn) level() protocol.Level {
	switch n := t.number(metaLevel); {
	case n > 0:
		return protocol.Level(n)
	case t.row(bMeta, []byte(metaBurning)) != nil:
		return levelDeleting
	}
	return levelFirst
}

// adoptLevel goes on with the level of the database.
func (m *machine) adoptLevel(t *txn) error {
	level := t.level()
	if err := m.checkLevel(level); err != nil {
		return err
	}
	m.level.Store(uint32(level))
	return nil
}

// raiseLevel has the cluster use what came with a level. What that changes in the rows is done here, by all nodes at the same place of the
// log; level 2 changes none: burning begins with the first BurnDue.
func (m *machine) raiseLevel(s *step, c *protocol.RaiseLevel) error {
	if c.To == 0 {
		return invalid("there is no level 0")
	}
	if err := m.checkLevel(c.To); err != nil {
		return err
	}
	if c.To <= s.level() {
		return nil
	}
	if err := s.setNumber(metaLevel, uint64(c.To)); err != nil {
		return err
	}
	m.level.Store(uint32(c.To))
	return nil
}

// needs is the level that a command came with, and what that is for people.
func needs(c protocol.Command) (level protocol.Level, what string) {
	switch c := c.(type) {
	case *protocol.DeleteMessage:
		return levelDeleting, "recalling and burning"
	case *protocol.BurnDue:
		return levelDeleting, "burning"
	case *protocol.SetIdentity, *protocol.AddInvitation, *protocol.SetPeer, *protocol.ReceiveEvent, *protocol.AckEvents, *protocol.SweepFederation,
		*protocol.AddAlias, *protocol.ReceiveHistory:
		return levelFederation, "federation"
	case *protocol.PutBlob, *protocol.HoldBlobs, *protocol.DropBlobs:
		return levelMedia, "storing pictures and files"
	case *protocol.AddOfflineFile:
		if !c.File.Blob.IsZero() {
			return levelMedia, "storing pictures and files"
		}
	case *protocol.SendMessage:
		if c.Extras.BurnAfter != 0 {
			return levelDeleting, "burning"
		}
	}
	return levelFirst, ""
}

// mayUse refuses a command that came with a level above the cluster's. Forbidden, not Unavailable: clients repeat what is that, and keep back
// what is behind it; but an operator may hold a level back for weeks.
func (m *machine) mayUse(c protocol.Command) error {
	level, what := needs(c)
	if level <= protocol.Level(m.level.Load()) {
		return nil
	}
	return forbidden("%s works once every node of the cluster runs a version that knows it, and may use it: upgrade all nodes", what)
}

// media reports whether the cluster keeps pictures and files.
func (m *machine) media() bool { return protocol.Level(m.level.Load()) >= levelMedia }

// media is that for what has no machine at hand.
func (t *txn) media() bool { return t.level() >= levelMedia }

// mayPropose keeps commands out of the log that older programs in the cluster don't know: those would stop there. Where this node has the
// level, its command comes behind the one that raised it.
func (m *machine) mayPropose(c protocol.Command) error {
	if raise, ok := c.(*protocol.RaiseLevel); ok && raise.To > m.highest {
		return invalid("level %d is above %d, which is what this node may use", raise.To, m.highest)
	}
	return m.mayUse(c)
}

// propose makes the bytes of a command for the log, if it may go there.
func (m *machine) propose(c protocol.Command) ([]byte, error) {
	if err := m.mayPropose(c); err != nil {
		return nil, err
	}
	return encodeCommand(m.known(c))
}

// known is a command as the cluster's level has it: below that of media a message is one without blobs, which it is for older programs anyway.
func (m *machine) known(c protocol.Command) protocol.Command {
	send, ok := c.(*protocol.SendMessage)
	if !ok || len(send.Blobs) == 0 || m.media() {
		return c
	}
	plain := *send
	plain.Blobs = nil
	return &plain
}

// Level is what the cluster uses, as far as this node has applied the log.
func (s *Store) Level() protocol.Level { return protocol.Level(s.machine.level.Load()) }

// HighestLevel is what this node may use.
func (s *Store) HighestLevel() protocol.Level { return s.machine.highest }

// RaiseLevel has the cluster use what came with a level, if it does not yet. Every member must be known to know that level.
func (s *Store) RaiseLevel(ctx context.Context, to protocol.Level) error {
	_, err := s.Execute(ctx, &protocol.RaiseLevel{To: to})
	return err
}
