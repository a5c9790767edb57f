package state

import (
	"slices"

	"teamtalk/protocol"
)

// oracle is the state as one would write it without a database: maps and slices, everything copied to everybody.
type oracle struct {
	now      protocol.Time
	users    map[protocol.UserID]*protocol.User
	convs    map[protocol.Conversation][]protocol.Message
	groups   map[protocol.GroupID]*oracleGroup
	sessions map[oracleKey]*oracleSession
	sent     map[dedupeKey]protocol.Message
	files    []protocol.OfflineFile
	log      []oracleEvent
	founded  *protocol.Cluster
	revoked  map[oracleRevoked]protocol.Epoch
	level    protocol.Level
	burns    bool                            // BurnDue came
	due      map[oracleMessage]protocol.Time // of the messages whose countdown runs, or that were deleted meanwhile
}

type oracleKey struct {
	user    protocol.UserID
	session protocol.Session
}

type oracleRevoked struct {
	user   protocol.UserID
	scope  protocol.RevokeScope
	device protocol.DeviceID
}

type oracleSession struct{ read, removed protocol.MsgID }

type oracleGroup struct {
	protocol.Group
	members []oracleMember // in the order they joined
}

type oracleMember struct {
	user  protocol.UserID
	at    protocol.Position
	first protocol.MsgID
}

// oracleEvent is an event with whom it is for; nil is everybody.
type oracleEvent struct {
	protocol.Event
	audience []protocol.UserID
	dead     bool // replaced by a later one, or of a membership that ended
}

func newOracle(level protocol.Level) *oracle {
	return &oracle{
		level:    level,
		users:    make(map[protocol.UserID]*protocol.User),
		convs:    make(map[protocol.Conversation][]protocol.Message),
		groups:   make(map[protocol.GroupID]*oracleGroup),
		sessions: make(map[oracleKey]*oracleSession),
		sent:     make(map[dedupeKey]protocol.Message),
		revoked:  make(map[oracleRevoked]protocol.Epoch),
		due:      make(map[oracleMessage]protocol.Time),
	}
}

func (o *oracle) present(u protocol.UserID) bool {
	user := o.users[u]
	return user != nil && user.Status != protocol.StatusLeft
}

func (o *oracle) session(u protocol.UserID, s protocol.Session) *oracleSession {
	k := oracleKey{u, s}
	if o.sessions[k] == nil {
		o.sessions[k] = &oracleSession{}
	}
	return o.sessions[k]
}

func (g *oracleGroup) member(u protocol.UserID) *oracleMember {
	i := slices.IndexFunc(g.members, func(m oracleMember) bool { return m.user == u })
	if i < 0 {
		return nil
	}
	return &g.members[i]
}

func (g *oracleGroup) ids() []protocol.UserID {
	ids := make([]protocol.UserID, 0, len(g.members))
	for _, m := range g.members {
		ids = append(ids, m.user)
	}
	slices.Sort(ids)
	return ids
}

func (o *oracle) emit(at protocol.Position, audience []protocol.UserID, body protocol.EventBody) {
	o.log = append(o.log, oracleEvent{protocol.Event{At: at, Body: body}, audience, false})
}

// announce is emit for what is not replayed.
func (o *oracle) announce(at protocol.Position, body protocol.EventBody) {
	o.log = append(o.log, oracleEvent{protocol.Event{At: at, Body: body}, nil, true})
}

// kill marks the earlier events that match.
func (o *oracle) kill(match func(protocol.EventBody) bool) {
	for i := range o.log {
		if match(o.log[i].Body) {
			o.log[i].dead = true
		}
	}
}

// apply returns the result or the code of the refusal.
func (o *oracle) apply(at protocol.Position, ms int64, cmd protocol.Command) (any, protocol.Code) {
	now := max(o.now, protocol.Time(ms))
	stored := len(o.log)
	res, code := o.execute(at, now, cmd)
	if len(o.log) > stored {
		switch c := cmd.(type) {
		case *protocol.MarkRead, *protocol.RemoveSession, *protocol.SetPassword, *protocol.DeleteMessage, *protocol.BurnDue: // they store no time
		case *protocol.RevokeSessions:
			if c.Scope != protocol.RevokeAll {
				o.now = now
			}
		default:
			o.now = now
		}
	}
	return res, code
}

// tooNew reports whether a command came with level 2, and the cluster is not there yet.
func (o *oracle) tooNew(cmd protocol.Command) bool {
	send, isSend := cmd.(*protocol.SendMessage)
	return o.level < 2 && (cmd.Kind() == protocol.KindDeleteMessage || cmd.Kind() == protocol.KindBurnDue || isSend && send.Extras.BurnAfter > 0)
}

func (o *oracle) execute(at protocol.Position, now protocol.Time, cmd protocol.Command) (any, protocol.Code) {
	if o.tooNew(cmd) {
		return nil, protocol.CodeForbidden
	}
	switch c := cmd.(type) {
	case *protocol.SendMessage:
		return o.send(at, now, c)
	case *protocol.MarkRead:
		return o.read(at, now, c)
	case *protocol.RemoveSession:
		return nil, o.remove(at, now, c)
	case *protocol.CreateGroup:
		return o.create(at, c)
	case *protocol.ChangeMembers:
		return o.change(at, c)
	case *protocol.EditGroup:
		return nil, o.close(at, c)
	case *protocol.ChangeSign:
		return nil, o.sign(at, c)
	case *protocol.EditUser:
		return nil, o.edit(at, now, c)
	case *protocol.AddOfflineFile:
		return nil, o.addFile(at, now, c)
	case *protocol.DeleteOfflineFile:
		return nil, o.deleteFile(c)
	case *protocol.FoundCluster:
		if o.founded == nil {
			o.founded = &c.Cluster
		}
		return *o.founded, 0
	case *protocol.SetPassword:
		return nil, o.password(at, c)
	case *protocol.RevokeSessions:
		return nil, o.revoke(at, c)
	case *protocol.DeleteMessage:
		return nil, o.deleteMessage(at, now, c)
	case *protocol.BurnDue:
		return o.burnDue(at, now, c)
	case *protocol.RaiseLevel:
		if c.To == 0 {
			return nil, protocol.CodeInvalid
		}
		o.level = max(o.level, c.To)
		return nil, 0
	}
	panic("the oracle does not know this command")
}

func (o *oracle) send(at protocol.Position, now protocol.Time, c *protocol.SendMessage) (any, protocol.Code) {
	if c.To.Type == protocol.SessionSingle && c.To.Peer() == c.From || c.To.Type == protocol.SessionGroup && c.Extras.BurnAfter > 0 {
		return nil, protocol.CodeInvalid
	}
	conv := c.To.Conversation(c.From)
	if first, ok := o.sent[dedupeKey{c.From, c.ClientMsgID}]; ok && !c.ClientMsgID.IsZero() {
		deleted := o.convs[first.Conversation][first.ID-1].Deleted != 0
		if first.Conversation != conv || !deleted && (string(first.Data) != string(c.Data) || first.Extras != c.Extras) {
			return nil, protocol.CodeInvalid
		}
		return protocol.SendResult{ID: first.ID, Time: first.Time, At: first.At, Repeated: true}, 0
	}
	if !o.present(c.From) {
		return nil, protocol.CodeNotFound
	}
	audience := []protocol.UserID{c.From, c.To.Peer()}
	if c.To.Type == protocol.SessionGroup {
		g := o.groups[c.To.Group()]
		if g == nil || g.Closed {
			return nil, protocol.CodeNotFound
		}
		if g.member(c.From) == nil {
			return nil, protocol.CodeForbidden
		}
		audience = g.ids()
	} else if !o.present(c.To.Peer()) {
		return nil, protocol.CodeNotFound
	}
	msgs := o.convs[conv]
	if int(c.Extras.ReplyTo) > len(msgs) {
		return nil, protocol.CodeInvalid
	}
	m := protocol.Message{Conversation: conv, ID: protocol.MsgID(len(msgs) + 1), From: c.From, Time: now, Type: c.Type, Data: c.Data,
		ClientMsgID: c.ClientMsgID, Extras: c.Extras, At: at}
	o.convs[conv] = append(msgs, m)
	o.sent[dedupeKey{c.From, c.ClientMsgID}] = m
	if c.To.Type == protocol.SessionGroup {
		o.session(c.From, c.To).read = m.ID
	}
	o.emit(at, audience, protocol.MessageSent{Message: m})
	return protocol.SendResult{ID: m.ID, Time: now, At: at}, 0
}

// visible lists what u may see of s.
func (o *oracle) visible(u protocol.UserID, s protocol.Session) ([]protocol.Message, protocol.Code) {
	msgs := o.convs[s.Conversation(u)]
	if s.Type == protocol.SessionSingle {
		return msgs, 0
	}
	g := o.groups[s.Group()]
	if g == nil || g.member(u) == nil {
		return nil, protocol.CodeForbidden
	}
	return msgs[g.member(u).first-1:], 0
}

func (o *oracle) read(at protocol.Position, now protocol.Time, c *protocol.MarkRead) (any, protocol.Code) {
	if !o.present(c.User) {
		return nil, protocol.CodeNotFound
	}
	msgs, code := o.visible(c.User, c.Session)
	if code != 0 {
		return nil, code
	}
	row := o.session(c.User, c.Session)
	upTo := c.UpTo
	if last := protocol.MsgID(len(o.convs[c.Session.Conversation(c.User)])); upTo == 0 || upTo > last {
		upTo = last
	}
	if upTo <= row.read || len(msgs) == 0 {
		return protocol.MarkReadResult{UpTo: row.read}, 0
	}
	o.countdown(now, c.User, c.Session, row.read, upTo)
	row.read = upTo
	o.kill(func(b protocol.EventBody) bool {
		e, ok := b.(protocol.ReadMoved)
		return ok && e.User == c.User && e.Session == c.Session
	})
	o.emit(at, []protocol.UserID{c.User}, protocol.ReadMoved{User: c.User, Session: c.Session, UpTo: upTo})
	return protocol.MarkReadResult{UpTo: upTo, Moved: true}, 0
}

func (o *oracle) remove(at protocol.Position, now protocol.Time, c *protocol.RemoveSession) protocol.Code {
	if !o.present(c.User) {
		return protocol.CodeNotFound
	}
	msgs, code := o.visible(c.User, c.Session)
	if code != 0 {
		return code
	}
	row := o.session(c.User, c.Session)
	if len(msgs) == 0 || row.removed == msgs[len(msgs)-1].ID {
		return protocol.CodeNotFound
	}
	row.removed = msgs[len(msgs)-1].ID
	o.countdown(now, c.User, c.Session, row.read, row.removed)
	row.read = row.removed
	o.kill(func(b protocol.EventBody) bool {
		e, ok := b.(protocol.SessionRemoved)
		return ok && e.User == c.User && e.Session == c.Session
	})
	o.emit(at, []protocol.UserID{c.User}, protocol.SessionRemoved{User: c.User, Session: c.Session})
	return 0
}

func (o *oracle) some(ids []protocol.UserID, ok func(protocol.UserID) bool) []protocol.UserID {
	found := []protocol.UserID{}
	for _, u := range ids {
		if ok(u) && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	slices.Sort(found)
	return found
}

func (o *oracle) join(g *oracleGroup, u protocol.UserID, at protocol.Position) {
	last := protocol.MsgID(len(o.convs[protocol.InGroup(g.ID).Conversation(u)]))
	g.members = append(g.members, oracleMember{u, at, last + 1})
	o.session(u, protocol.InGroup(g.ID)).read = last
}

func (o *oracle) create(at protocol.Position, c *protocol.CreateGroup) (any, protocol.Code) {
	if c.Actor != 0 && c.Type != protocol.GroupTemp {
		return nil, protocol.CodeForbidden
	}
	if c.Actor != 0 && !o.present(c.Actor) {
		return nil, protocol.CodeNotFound
	}
	members := o.some(c.Members, o.present)
	if len(members) == 0 {
		return nil, protocol.CodeInvalid
	}
	g := &oracleGroup{Group: protocol.Group{ID: protocol.GroupID(len(o.groups) + 1), Creator: c.Actor, Type: c.Type, Version: 1}}
	o.groups[g.ID] = g
	for _, u := range members {
		o.join(g, u, at)
	}
	o.emit(at, members, protocol.GroupCreated{Actor: c.Actor, Group: g.ID, Members: members})
	return protocol.CreateGroupResult{Group: g.ID, Members: members}, 0
}

func (o *oracle) change(at protocol.Position, c *protocol.ChangeMembers) (any, protocol.Code) {
	g := o.groups[c.Group]
	if g == nil || g.Closed {
		return nil, protocol.CodeNotFound
	}
	adds := c.Change == protocol.MembersAdd
	if c.Actor != 0 {
		if !o.present(c.Actor) {
			return nil, protocol.CodeNotFound
		}
		is := g.member(c.Actor) != nil
		if c.Actor != g.Creator && !(adds && g.Type == protocol.GroupTemp && is) && !(!adds && is && slices.Equal(c.Members, users(c.Actor))) {
			return nil, protocol.CodeForbidden
		}
	}
	changed := o.some(c.Members, func(u protocol.UserID) bool {
		return adds && o.present(u) && g.member(u) == nil || !adds && g.member(u) != nil
	})
	if len(changed) == 0 {
		return nil, protocol.CodeInvalid
	}
	current := o.move(at, g, c.Actor, c.Change, changed)
	return protocol.ChangeMembersResult{Current: current, Changed: changed}, 0
}

func (o *oracle) move(at protocol.Position, g *oracleGroup, actor protocol.UserID, change protocol.MemberChange, changed []protocol.UserID) []protocol.UserID {
	g.Version++
	audience := g.ids()
	for _, u := range changed {
		if change == protocol.MembersAdd {
			o.join(g, u, at)
			audience = append(audience, u)
			continue
		}
		g.members = slices.DeleteFunc(g.members, func(m oracleMember) bool { return m.user == u })
		delete(o.sessions, oracleKey{u, protocol.InGroup(g.ID)})
		o.kill(func(b protocol.EventBody) bool {
			switch e := b.(type) {
			case protocol.ReadMoved:
				return e.User == u && e.Session == protocol.InGroup(g.ID)
			case protocol.SessionRemoved:
				return e.User == u && e.Session == protocol.InGroup(g.ID)
			}
			return false
		})
	}
	o.emit(at, audience, protocol.MembersChanged{Actor: actor, Group: g.ID, Change: change, Current: g.ids(), Changed: changed})
	if len(g.members) == 0 {
		g.Closed = true
	}
	if change == protocol.MembersDel && slices.Contains(changed, g.Creator) {
		g.Creator = o.longest(g)
		if !g.Closed {
			o.announce(at, protocol.GroupEdited{Group: g.ID})
		}
	}
	return g.ids()
}

func (o *oracle) longest(g *oracleGroup) protocol.UserID {
	for _, m := range g.members { // those who joined at once are in the order of their ids
		if o.present(m.user) {
			return m.user
		}
	}
	if len(g.members) > 0 {
		return g.members[0].user
	}
	return 0
}

func (o *oracle) close(at protocol.Position, c *protocol.EditGroup) protocol.Code {
	g := o.groups[c.Group]
	if g == nil || g.Closed {
		return protocol.CodeNotFound
	}
	o.move(at, g, 0, protocol.MembersDel, g.ids())
	return 0
}

func (o *oracle) sign(at protocol.Position, c *protocol.ChangeSign) protocol.Code {
	if !o.present(c.User) {
		return protocol.CodeNotFound
	}
	o.users[c.User].Sign = c.Sign
	o.kill(func(b protocol.EventBody) bool {
		e, ok := b.(protocol.SignChanged)
		return ok && e.User == c.User
	})
	o.emit(at, nil, protocol.SignChanged{User: c.User, Sign: c.Sign})
	return 0
}

func (o *oracle) edit(at protocol.Position, now protocol.Time, c *protocol.EditUser) protocol.Code {
	u := o.users[c.User]
	if u == nil {
		return protocol.CodeNotFound
	}
	left := false
	if c.Status != nil && *c.Status != u.Status {
		u.Status = *c.Status
		o.now = now
		left = u.Status == protocol.StatusLeft
	}
	if c.Avatar != nil && *c.Avatar != u.Avatar {
		u.Avatar = *c.Avatar
		o.kill(func(b protocol.EventBody) bool {
			e, ok := b.(protocol.AvatarChanged)
			return ok && e.User == c.User
		})
		o.emit(at, nil, protocol.AvatarChanged{User: c.User, Avatar: u.Avatar})
	}
	if left {
		o.lockOut(at, u, "left")
	}
	return 0
}

func (o *oracle) lockOut(at protocol.Position, u *protocol.User, reason string) {
	if o.founded != nil {
		u.Revoked = protocol.Epoch(at.Index)
	}
	o.announce(at, protocol.AccessRevoked{User: u.ID, Reason: reason, Scope: protocol.RevokeAll})
}

// password knows only commands whose If fits nothing.
func (o *oracle) password(at protocol.Position, c *protocol.SetPassword) protocol.Code {
	u := o.users[c.User]
	if u == nil {
		return protocol.CodeNotFound
	}
	if c.If != "" {
		return protocol.CodeInvalid
	}
	o.lockOut(at, u, "password changed")
	return 0
}

func (o *oracle) revoke(at protocol.Position, c *protocol.RevokeSessions) protocol.Code {
	u := o.users[c.User]
	if u == nil {
		return protocol.CodeNotFound
	}
	var reason string
	switch c.Scope {
	case protocol.RevokePC:
		reason = "kicked"
	case protocol.RevokeAll:
		reason = "revoked"
		u.Revoked = protocol.Epoch(at.Index)
	case protocol.RevokeDevice:
		reason = "logged out"
	}
	o.revoked[oracleRevoked{c.User, c.Scope, c.Device}] = protocol.Epoch(at.Index)
	o.announce(at, protocol.AccessRevoked{User: c.User, Reason: reason, Scope: c.Scope, Device: c.Device})
	return 0
}

// epoch is what a token needs at least.
func (o *oracle) epoch(u protocol.UserID, d protocol.DeviceID, mobile bool) protocol.Epoch {
	e := max(o.users[u].Revoked, o.revoked[oracleRevoked{u, protocol.RevokeDevice, d}])
	if !mobile {
		e = max(e, o.revoked[oracleRevoked{u, protocol.RevokePC, ""}])
	}
	return e
}

func (o *oracle) addFile(at protocol.Position, now protocol.Time, c *protocol.AddOfflineFile) protocol.Code {
	f := c.File
	if !o.present(f.From) || !o.present(f.To) {
		return protocol.CodeNotFound
	}
	if o.file(f.From, f.To, f.TaskID) < 0 {
		f.Added = now
		o.files = append(o.files, f)
		o.emit(at, users(f.To), protocol.OfflineFileAdded{File: f})
	}
	return 0
}

func (o *oracle) file(from, to protocol.UserID, task string) int {
	return slices.IndexFunc(o.files, func(f protocol.OfflineFile) bool { return f.From == from && f.To == to && f.TaskID == task })
}

func (o *oracle) deleteFile(c *protocol.DeleteOfflineFile) protocol.Code {
	if c.Actor != c.From && c.Actor != c.To {
		return protocol.CodeForbidden
	}
	i := o.file(c.From, c.To, c.TaskID)
	if i < 0 {
		return protocol.CodeNotFound
	}
	f := o.files[i]
	o.files = slices.Delete(o.files, i, i+1)
	o.kill(func(b protocol.EventBody) bool {
		e, ok := b.(protocol.OfflineFileAdded)
		return ok && e.File == f
	})
	return 0
}

// eventsAfter lists what u has to be told after a cursor.
func (o *oracle) eventsAfter(u protocol.UserID, after protocol.Cursor) []protocol.Event {
	var events []protocol.Event
	for _, e := range o.log {
		if !e.dead && protocol.Cursor(e.At.Index) > after && (e.audience == nil || slices.Contains(e.audience, u)) {
			if sent, ok := e.Body.(protocol.MessageSent); ok { // as it is now
				sent.Message = o.convs[sent.Message.Conversation][sent.Message.ID-1]
				e.Body = sent
			}
			events = append(events, e.Event)
		}
	}
	return events
}

// sessionsOf lists the sessions of u with messages, newest first.
func (o *oracle) sessionsOf(u protocol.UserID) []protocol.Session {
	var all []protocol.Session
	for conv := range o.convs {
		if conv.Type == protocol.SessionSingle && conv.A != uint32(u) && conv.B != uint32(u) {
			continue
		}
		if msgs, _ := o.visible(u, conv.Seen(u)); len(msgs) > 0 {
			all = append(all, conv.Seen(u))
		}
	}
	last := func(s protocol.Session) protocol.Position {
		msgs := o.convs[s.Conversation(u)]
		return msgs[len(msgs)-1].At
	}
	slices.SortFunc(all, func(a, b protocol.Session) int {
		if last(a).Before(last(b)) {
			return 1
		}
		return -1
	})
	return all
}

func (o *oracle) unread(u protocol.UserID, s protocol.Session) (count uint32) {
	msgs, _ := o.visible(u, s)
	for _, m := range msgs {
		if m.From != u && m.ID > o.session(u, s).read {
			count++
		}
	}
	return count
}
