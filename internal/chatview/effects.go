package chatview

import (
	"context"
	"errors"
	"time"

	"teamtalk/client"
	"teamtalk/internal/chat"
	"teamtalk/protocol"
)

// patience is how long a change may take; what only reads waits for a connection as long as it takes.
const patience = 30 * time.Second

var errTooMany = errors.New("too many messages wait")

// do does what the model asks for; whatever waits does so in a goroutine, and its answer comes back through answers.
func (a *app) do(e chat.Effect) {
	switch e := e.(type) {
	case chat.Send:
		select {
		case a.sends <- e:
		default:
			a.model.Refused(e, errTooMany)
		}
	case chat.Retry:
		if o, ok := a.outgoing[e.Client]; ok {
			if err := o.Retry(); err != nil {
				a.model.Failed("/retry", err)
			}
		}
	case chat.MarkRead:
		if err := a.session.MarkRead(a.ctx, e.In, e.UpTo); err != nil {
			a.model.Failed("read", err)
		}
	case chat.Redraw:
		a.screen.Sync()
	case chat.Quit:
		a.left = true
	default:
		a.joined.Go(func() { a.ask(e) }) // ends with its answer, or with ctx
	}
}

// sender sends in the order of typing.
func (a *app) sender() {
	for {
		select {
		case e := <-a.sends:
			a.send(e)
		case <-a.ctx.Done():
			return
		}
	}
}

func (a *app) send(e chat.Send) {
	var content client.Content = client.Text(e.Text)
	if e.Burn > 0 {
		content = client.Rich{Text: e.Text, BurnAfter: e.Burn}
	}
	o, err := a.session.Send(a.ctx, e.In, content)
	a.answer(func() {
		if err != nil {
			a.model.Refused(e, err)
			return
		}
		a.outgoing[o.ClientMsgID()] = &flight{Outgoing: o}
		a.model.Queued(e, o.ClientMsgID())
	})
}

// answer has loop run something.
func (a *app) answer(f func()) {
	select {
	case a.answers <- f:
	case <-a.ctx.Done():
	}
}

// ask asks the server, and answers with what it said.
func (a *app) ask(e chat.Effect) {
	ctx := a.ctx
	switch e := e.(type) {
	case chat.LoadHistory:
		list, err := a.session.History(ctx, e.In, e.From, e.Count)
		a.answer(func() { a.model.History(e, list.Items, err) })
	case chat.LoadLists:
		a.lists(ctx)
	case chat.LoadUnread:
		list, err := a.session.Unread(ctx)
		a.told("unread messages", err, func() { a.model.Unread(list.Items) })
	case chat.LoadUsers:
		list, err := a.session.Users(ctx, e.IDs...)
		a.told("users", err, func() { a.model.Users(list.Items) })
	case chat.LoadGroups:
		a.groups(ctx, e.IDs)
	case chat.Find:
		list, err := a.session.Search(ctx, e.Text, 0)
		a.told("/find", err, func() { a.model.Found(e.Text, list.Items) })
	case chat.AskPresence:
		list, err := a.session.Client.Presence(ctx, e.IDs...)
		a.told("presence", err, func() { a.model.Presence(list.Items) })
	case chat.Attach:
		o, err := a.session.Attach(ctx, e.In, e.Path, e.Burn)
		a.told("/file", err, func() {
			a.outgoing[o.ClientMsgID()] = &flight{Outgoing: o}
			a.model.Done("sent " + e.Path)
		})
	case chat.Save:
		at, err := a.session.Save(ctx, e.What, e.Path)
		a.told("/save", err, func() { a.model.Done("saved as " + at) })
	default:
		a.change(e)
	}
}

// told answers with a result, or why there is none.
func (a *app) told(what string, err error, then func()) {
	a.answer(func() {
		if err != nil {
			a.model.Failed(what, err)
			return
		}
		then()
	})
}

// lists asks for all that the list of conversations is made of.
func (a *app) lists(ctx context.Context) {
	people, err := a.session.AllUsers(ctx, time.Time{})
	a.told("directory", err, func() { a.model.Users(people.Items) })
	recent, err := a.session.Recent(ctx, time.Time{})
	a.told("conversations", err, func() { a.model.Recent(recent.Items) })
	unread, err := a.session.Unread(ctx)
	a.told("unread messages", err, func() { a.model.Unread(unread.Items) })
	company, err := a.session.Client.Groups(ctx)
	if err == nil && len(company.Items) > 0 {
		ids := make([]protocol.GroupID, len(company.Items))
		for i, g := range company.Items {
			ids[i] = g.ID
		}
		a.groups(ctx, ids)
	}
	a.answer(a.model.Listed)
}

func (a *app) groups(ctx context.Context, ids []protocol.GroupID) {
	of := make([]protocol.GroupVersion, len(ids))
	for i, id := range ids {
		of[i] = protocol.GroupVersion{ID: id}
	}
	list, err := a.session.GroupInfo(ctx, of...)
	a.told("groups", err, func() { a.model.Groups(list.Items) })
}

// change asks for what changes something, and says how that went.
func (a *app) change(e chat.Effect) {
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	switch e := e.(type) {
	case chat.Recall:
		err := a.session.Recall(ctx, e.In, e.ID)
		a.told("/recall", err, func() {})
	case chat.BurnNow:
		err := a.session.Burn(ctx, e.In, e.ID)
		a.told("/burnnow", err, func() {})
	case chat.CreateGroup:
		id, err := a.session.CreateGroup(ctx, e.Name, e.Members...)
		a.told("/group", err, func() { a.model.Created(id, e.Name) })
	case chat.Invite:
		now, err := a.session.ChangeMembers(ctx, e.Group, protocol.MembersAdd, e.Members...)
		a.changed("/invite", err, client.GroupChanged{Group: e.Group, Change: protocol.MembersAdd, Changed: e.Members, Members: now})
	case chat.Leave:
		me := []protocol.UserID{a.session.Me()}
		now, err := a.session.ChangeMembers(ctx, e.Group, protocol.MembersDel, me...)
		a.changed("/leave", err, client.GroupChanged{Group: e.Group, Change: protocol.MembersDel, Changed: me, Members: now})
	case chat.Sign:
		err := a.session.Sign(ctx, e.Text)
		a.told("/sign", err, func() { a.model.Done("your signature is: " + e.Text) })
	}
}

// changed answers with a change of members, of which the server tells everybody but who asked for it.
func (a *app) changed(what string, err error, ev client.GroupChanged) {
	ev.By = a.session.Me()
	a.told(what, err, func() { a.model.Event(&ev) })
}
