package federation

import (
	"context"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	interestPage = 4096    // users in a frame of interest
	presencePage = 2048    // users in a frame of presence
	mostWanted   = 1 << 18 // users of this cluster in whom one peer may be interested
	mostDenied   = 4096    // users whom a peer asked for and may not know yet: they are looked at again
	fullEvery    = 12      // rounds of presence after which all is compared, not only what has changed
	remoteConns  = uint64(1) << 63
)

// What is told of somebody's presence; on the wire as clients see it.
const (
	statusOnline  uint8 = 1
	statusOffline uint8 = 2
)

// presence is what is known of somebody.
type presence uint8

const (
	away presence = iota
	onPC
	onMobile
)

// show says in whom of the peer's people somebody here may be interested: all who are in the directory here, from one alias on [FED-EPH-1].
func (a *attendant) show(ctx context.Context, after protocol.UserID, complete bool) (last protocol.UserID, err error) {
	if a.m.cfg.Presence == nil || !a.rules.in.Has(fed.AllowPresence) {
		return after, nil
	}
	for ctx.Err() == nil {
		rows, err := a.m.cfg.State.AliasesOf(a.peer, after, interestPage)
		if err != nil {
			return after, err
		}
		if len(rows) == 0 && !complete {
			break
		}
		i := fed.Interest{Complete: complete}
		for _, r := range rows {
			i.Users = append(i.Users, r.Remote)
			after = r.Alias
		}
		if err := a.l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindInterest, i)); err != nil {
			return after, err
		}
		if complete = false; len(rows) < interestPage {
			break
		}
	}
	return after, ctx.Err()
}

// interested notes in whom the peer is interested, of those it may know.
func (a *attendant) interested(i *fed.Interest) error {
	if !a.rules.out.Has(fed.AllowPresence) {
		return nil
	}
	if i.Complete {
		a.mu.Lock()
		a.wanted, a.moved, a.denied = map[protocol.UserID]presence{}, map[protocol.UserID]struct{}{}, nil
		a.mu.Unlock()
	}
	a.mu.Lock()
	for _, u := range i.Dropped {
		delete(a.wanted, u)
		delete(a.moved, u)
	}
	a.mu.Unlock()
	return a.want(i.Users)
}

func (a *attendant) want(users []protocol.UserID) error {
	known := users
	if !a.rules.out.Has(fed.AllowDirectory) {
		var err error
		if known, err = a.m.cfg.State.KnownTo(a.peer, users); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	may := make(map[protocol.UserID]bool, len(known))
	for _, u := range known {
		may[u] = true
	}
	for _, u := range users {
		_, is := a.wanted[u]
		switch {
		case is || u == 0 || u >= protocol.MaxLocalID:
		case may[u] && len(a.wanted) < mostWanted:
			a.wanted[u] = away
			a.moved[u] = struct{}{}
		case !may[u] && len(a.denied) < mostDenied:
			a.denied = append(a.denied, u)
		default:
			a.m.ops.dropped.add(dropInterest)
		}
	}
	select {
	case a.fresh <- struct{}{}:
	default:
	}
	return nil
}

// tell sends the presence of those who came or went; all: of everybody of whom the peer was told something else.
func (a *attendant) tell(all bool) error {
	if a.m.cfg.Presence == nil || !a.rules.out.Has(fed.AllowPresence) {
		return nil
	}
	if all {
		a.mu.Lock()
		again := a.denied
		a.denied = nil
		a.mu.Unlock()
		if err := a.want(again); err != nil {
			return err
		}
	}
	for _, page := range a.untold(all) {
		if err := a.l.say(fed.LaneEphemeral, fed.NewFrame(fed.KindEphemeral, fed.Ephemeral{Presence: page})); err != nil {
			return err
		}
	}
	return nil
}

// untold is what the peer has not been told, in pages.
func (a *attendant) untold(all bool) (pages [][]fed.Presence) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if all {
		for u := range a.wanted {
			a.moved[u] = struct{}{}
		}
	}
	var page []fed.Presence
	for u := range a.moved {
		now := a.m.presenceOf(u)
		if now == a.wanted[u] {
			continue
		}
		a.wanted[u] = now
		if page = append(page, now.wire(u)); len(page) == presencePage {
			pages, page = append(pages, page), nil
		}
	}
	a.moved = map[protocol.UserID]struct{}{}
	if len(page) > 0 {
		pages = append(pages, page)
	}
	return pages
}

func (m *Manager) presenceOf(u protocol.UserID) presence {
	switch {
	case m.cfg.Presence.PCOnline(u):
		return onPC
	case m.cfg.Presence.MobileOnline(u):
		return onMobile
	}
	return away
}

// wire tells the class of the client, not which one it is.
func (p presence) wire(u protocol.UserID) fed.Presence {
	switch p {
	case onPC:
		return fed.Presence{User: u, Status: statusOnline, Client: protocol.ClientWindows}
	case onMobile:
		return fed.Presence{User: u, Status: statusOnline, Client: protocol.ClientAndroid}
	case away:
	}
	return fed.Presence{User: u, Status: statusOffline}
}

// present enters the peer's people into the presence table, or takes them out.
func (a *attendant) present(news []fed.Presence) error {
	if a.m.cfg.Presence == nil || a.m.cfg.Signaler == nil || len(news) == 0 {
		return nil
	}
	if !a.rules.in.Has(fed.AllowPresence) {
		a.m.ops.dropped.add(dropPolicy)
		return nil
	}
	for _, p := range news {
		u, err := a.m.cfg.State.AliasOf(fed.UserRef{Cluster: a.peer, ID: p.User})
		if err != nil {
			return err
		}
		if u == 0 {
			a.m.ops.dropped.add(dropUnknown)
			continue
		}
		a.place(u, p)
	}
	return nil
}

// place has the table say of somebody what his own cluster says.
func (a *attendant) place(u protocol.UserID, p fed.Presence) {
	client := protocol.ClientWindows
	if p.Client.IsMobile() {
		client = protocol.ClientAndroid
	}
	online := p.Status == statusOnline
	a.mu.Lock()
	was, is := a.remote[u]
	if online {
		a.remote[u] = client
	} else {
		delete(a.remote, u)
	}
	a.mu.Unlock()
	switch {
	case online && is && was == client, !online && !is:
		return
	case online: // in place of what it was before: the connection has the same number
		a.m.cfg.Presence.Join(protocol.LiveSession{User: u, Conn: a.conn(u), Client: client})
	default:
		a.m.cfg.Presence.Leave(u, a.conn(u))
	}
	if wasPC := is && !was.IsMobile(); wasPC != (online && !client.IsMobile()) {
		a.announce(u)
	}
}

// announce tells this cluster's clients. Who has left may still be in the table, by another link or node.
func (a *attendant) announce(u protocol.UserID) {
	a.m.cfg.Signaler.Signal(protocol.PresenceChanged{User: u, Online: a.m.cfg.Presence.PCOnline(u)})
}

// conn is a number that no connection of a client has, and no other link gives this user.
func (a *attendant) conn(u protocol.UserID) protocol.ConnID {
	return protocol.ConnID(remoteConns | uint64(a.number)<<32 | uint64(u))
}
