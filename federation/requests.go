package federation

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	mostRequests  = 8           // of one peer that are carried out at once
	requestRate   = 20          // of one peer in a second
	searchedPeers = 16          // at once
	usualFound    = 20          // if nobody says how many
	searchWait    = time.Second // that peers have to search: what the others found is not to come too late for who waits
)

// ChangeMembers asks the hub of a group of another cluster for a change [FED-HUB-1]. Who takes himself out is out here at once, and the hub hears of it when it can.
// CodeUnavailable if the hub can't be reached.
func (m *Manager) ChangeMembers(ctx context.Context, actor protocol.UserID, g protocol.GroupID, change protocol.MemberChange, users []protocol.UserID) error {
	if change == protocol.MembersDel && len(users) == 1 && users[0] == actor {
		_, err := m.cfg.State.Execute(ctx, &protocol.ChangeMembers{Actor: actor, Group: g, Change: change, Members: users})
		return err
	}
	var none nothing
	return m.onLeader(ctx, opChange, changeCall{actor, g, change, users}, &none)
}

// askForChange translates a change for the hub and waits for its answer.
func (m *Manager) askForChange(ctx context.Context, c *changeCall) error {
	hub, err := m.cfg.State.GroupAbroad(c.Group)
	if err != nil {
		return err
	}
	is, err := m.cfg.State.IsMember(c.Group, c.Actor)
	switch {
	case err != nil:
		return err
	case !is || c.Actor >= protocol.MaxLocalID:
		return protocol.Errorf(protocol.CodeForbidden, "user %d is no member of group %d", c.Actor, c.Group)
	case len(c.Users) > protocol.MaxGroupMembers:
		return protocol.Errorf(protocol.CodeTooLarge, "a group has at most %d members", protocol.MaxGroupMembers)
	}
	_, own, err := m.identity()
	if err != nil {
		return err
	}
	ask := fed.ChangeMembers{Group: hub.ID, Change: c.Change, Users: make([]fed.UserRef, len(c.Users))}
	if c.Change == protocol.MembersAdd {
		ask.Profiles = make([]fed.Profile, len(c.Users))
	}
	for i, u := range c.Users {
		if u >= protocol.MaxLocalID {
			if ask.Users[i], err = m.cfg.State.UserAbroad(u); err != nil {
				return err
			}
			continue
		}
		ask.Users[i] = fed.UserRef{Cluster: own.Cluster, ID: u}
		if ask.Profiles != nil {
			who, err := m.cfg.State.UserByID(u)
			if err != nil {
				return err
			}
			ask.Profiles[i] = m.profileOf(&who)
		}
	}
	_, err = m.ask(ctx, hub.Cluster, fed.Request{Author: c.Actor, Change: &ask})
	return err
}

// profileOf is what others are told of somebody who is found, or is to join a group [FED-FILE-4].
func (m *Manager) profileOf(u *protocol.User) fed.Profile {
	p := fed.Profile{Login: u.Name, Nick: u.Nick, Avatar: u.Avatar, Gender: u.Gender, Sign: u.Sign, Left: u.Status == protocol.StatusLeft, Updated: u.Updated}
	if shows := protocol.BlobPaths(u.Avatar); len(shows) > 0 && m.cfg.Files != nil {
		if b, _, err := m.cfg.Files.Blob(shows[0].ID); err == nil { // else it shows nothing that anybody could have
			p.Picture = protocol.BlobRef{ID: b.ID, Size: b.Size, Type: b.Type}
		}
	}
	return p
}

// ask has a peer answer a request, in a time in which people wait.
func (m *Manager) ask(ctx context.Context, peer fed.ClusterID, r fed.Request) (fed.Answer, error) {
	office := m.officeName(peer)
	away := protocol.Errorf(protocol.CodeUnavailable, "the office %s can't be reached now; members are changed by the group's home", office)
	l := m.linkOf(peer)
	if l == nil {
		return fed.Answer{}, away
	}
	m.ops.mu.Lock()
	a := m.ops.attendants[l]
	m.ops.mu.Unlock()
	r.ID = m.ops.asked.Add(1)
	if a == nil {
		return fed.Answer{}, away
	}
	answers := a.await(r.ID)
	defer a.awaitNoMore(r.ID)
	if answers == nil || !a.put(outgoing{lane: fed.LaneControl, frame: fed.NewFrame(fed.KindRequest, r)}) {
		return fed.Answer{}, away
	}
	t := time.NewTimer(m.cfg.Timing.Request)
	defer t.Stop()
	select {
	case got, ok := <-answers:
		if !ok {
			return got, protocol.OutcomeUnknownf("the link with the office %s was lost while it was asked", office)
		}
		err := refusalOf(&got)
		return got, err
	case <-t.C:
		return fed.Answer{}, protocol.OutcomeUnknownf("the office %s can't be reached now: it did not answer in time", office)
	case <-ctx.Done():
		return fed.Answer{}, protocol.OutcomeUnknownf("the office %s did not answer in time: %w", office, ctx.Err())
	}
}

// refusalOf is what a peer answered if that is no. It can't have sessions here ended or clients repeat for ever: only codes that are about the request are taken.
func refusalOf(a *fed.Answer) error {
	switch a.Code {
	case protocol.CodeUnspecified:
		return nil
	case protocol.CodeInvalid, protocol.CodeForbidden, protocol.CodeNotFound, protocol.CodeRateLimited, protocol.CodeTooLarge, protocol.CodeQuota:
	default:
		a.Code = protocol.CodeUnavailable
	}
	text := protocol.Truncate(a.Text, maxReason)
	if protocol.CheckName("text", text, maxReason) != nil {
		text = "the other office says no"
	}
	return &protocol.Error{Code: a.Code, Message: text}
}

// officeName is what people call a cluster.
func (m *Manager) officeName(c fed.ClusterID) string {
	p, err := m.peerByID(c)
	if err == nil && p != nil {
		if mf, err := p.Peer.Manifest.Open(); err == nil {
			return mf.Office
		}
	}
	return c.String()
}

// await registers for the answer to a request; nil: the link has ended.
func (a *attendant) await(id uint64) <-chan fed.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return nil
	}
	c := make(chan fed.Answer, 1)
	a.waiting[id] = c
	return c
}

func (a *attendant) awaitNoMore(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// answered hands an answer to whoever waits for it. One that comes too late is for nobody.
func (a *attendant) answered(f fed.Frame) error {
	var got fed.Answer
	if err := f.Into(&got); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, waits := a.waiting[got.ID]; waits {
		delete(a.waiting, got.ID)
		c <- got // it has room
	}
	return nil
}

// serve has a request of the peer carried out beside others; those above the limits are refused at once.
func (a *attendant) serve(ctx context.Context, r *fed.Request) {
	refuse := func(code protocol.Code, text string) { a.answer(&fed.Answer{ID: r.ID, Code: code, Text: text}) }
	a.mu.Lock()
	may := a.asked.allow(time.Now(), struct{}{}, requestRate)
	a.mu.Unlock()
	if !may {
		refuse(protocol.CodeRateLimited, "too many requests at once: later")
		return
	}
	select {
	case a.work <- struct{}{}:
	default:
		refuse(protocol.CodeRateLimited, "too many requests at once: later")
		return
	}
	a.wg.Go(func() { // bounded by ctx and the time that is given
		defer func() { <-a.work }()
		ctx, cancel := context.WithTimeout(ctx, a.m.cfg.Timing.Request)
		defer cancel()
		got := fed.Answer{ID: r.ID}
		var err error
		switch {
		case r.Change != nil && r.Search == nil:
			err = a.changeFor(ctx, r)
		case r.Search != nil && r.Change == nil:
			got.Found, err = a.searchFor(r)
		default:
			err = protocol.Errorf(protocol.CodeInvalid, "this side does not know such requests")
		}
		if err != nil {
			got.Code, got.Text = protocol.CodeOf(err), textFor(err)
			a.m.log.Info("a request of a peer is refused", "peer", a.peer.String(), "author", r.Author, "code", got.Code, "error", err)
		}
		a.answer(&got)
	})
}

// answer sends an answer if there is room: else the peer waits in vain, as it does when the link is lost.
func (a *attendant) answer(got *fed.Answer) {
	if !a.put(outgoing{lane: fed.LaneControl, frame: fed.NewFrame(fed.KindAnswer, *got)}) {
		a.m.ops.dropped.add(dropFull)
	}
}

// said is an error whose text is fit for people of another cluster: others name ids of this one [FED-AL-2].
type said struct{ why *protocol.Error }

// Error is the text.
func (s said) Error() string { return s.why.Message }
func (s said) Unwrap() error { return s.why }

func says(code protocol.Code, text string) error { return said{protocol.Errorf(code, "%s", text)} }

// textFor is what people of another cluster are told of an error.
func textFor(err error) string {
	if s, ok := err.(said); ok { //nolint:errorlint // what wraps it is no longer fit for others
		return s.Error()
	}
	switch protocol.CodeOf(err) {
	case protocol.CodeForbidden:
		return "you may not change the members of this group so"
	case protocol.CodeNotFound:
		return "the group, or one of those people, is not known at the group's home"
	case protocol.CodeInvalid:
		return "that would change nothing, or makes no sense"
	case protocol.CodeTooLarge:
		return "the group would be too large, or have people of too many offices"
	case protocol.CodeQuota, protocol.CodeRateLimited:
		return "too much is waiting for one of the offices: later"
	default:
		return "the other office can't do it now: later"
	}
}

// changeFor changes a group of this cluster for somebody of the peer, who has to be in it; what the state allows it decides.
func (a *attendant) changeFor(ctx context.Context, r *fed.Request) error {
	state := a.m.cfg.State
	if !a.rules.in.Has(fed.AllowGroups) {
		return says(protocol.CodeForbidden, "the rules of the link between the two offices don't allow groups")
	}
	stranger := says(protocol.CodeForbidden, "you are no member of this group")
	actor, err := state.AliasOf(fed.UserRef{Cluster: a.peer, ID: r.Author})
	if err != nil {
		return err
	}
	if actor == 0 || r.Change.Group >= protocol.MaxLocalID {
		return stranger
	}
	is, err := state.IsMember(r.Change.Group, actor)
	if err != nil {
		return err
	}
	if !is {
		return stranger
	}
	g, err := state.GroupByID(r.Change.Group)
	if err != nil {
		return err
	}
	adds := r.Change.Change == protocol.MembersAdd
	if adds && g.Type != protocol.GroupTemp && g.Creator != actor {
		return says(protocol.CodeForbidden, "only who made this group may add people")
	}
	users, err := a.usersOf(ctx, r.Change, adds)
	if err != nil {
		return err
	}
	_, err = state.Execute(ctx, &protocol.ChangeMembers{Actor: actor, Group: g.ID, Change: r.Change.Change, Members: users})
	return err
}

// usersOf are the people whom a request names, as called here. Those of the peer's who are to join and whom nobody here has met get an alias.
func (a *attendant) usersOf(ctx context.Context, c *fed.ChangeMembers, adds bool) ([]protocol.UserID, error) {
	switch {
	case len(c.Users) == 0 || len(c.Users) > protocol.MaxGroupMembers:
		return nil, says(protocol.CodeTooLarge, "too many people at once, or none")
	case len(c.Profiles) != 0 && len(c.Profiles) != len(c.Users):
		return nil, says(protocol.CodeInvalid, "that makes no sense")
	}
	_, own, err := a.m.identity()
	if err != nil {
		return nil, err
	}
	users := make([]protocol.UserID, len(c.Users))
	strangers := map[int]fed.Found{}
	for i, ref := range c.Users {
		if ref.ID == 0 || ref.ID >= protocol.MaxLocalID {
			return nil, says(protocol.CodeNotFound, "somebody is not known at the group's home")
		}
		if ref.Cluster == own.Cluster {
			users[i] = ref.ID
			continue
		}
		if users[i], err = a.m.cfg.State.AliasOf(ref); err != nil {
			return nil, err
		}
		if users[i] != 0 {
			continue
		}
		if !adds || ref.Cluster != a.peer || len(c.Profiles) == 0 {
			return nil, says(protocol.CodeNotFound, "somebody is not known at the group's home: who is of a third office has to have met somebody of it first")
		}
		strangers[i] = fed.Found{ID: ref.ID, Profile: c.Profiles[i]}
	}
	if len(strangers) == 0 {
		return users, nil
	}
	now, err := a.m.cfg.State.Members(c.Group)
	switch {
	case err != nil:
		return nil, err
	case len(now)+len(strangers) > protocol.MaxGroupMembers: // before anybody is given an alias for nothing
		return nil, says(protocol.CodeTooLarge, "the group would be too large")
	}
	met, err := a.m.meet(ctx, a.peer, strangers)
	for i, u := range met {
		users[i] = u
	}
	return users, err
}

// meet gives people of a peer aliases, all at once. The first who can't have one is the error.
func (m *Manager) meet(ctx context.Context, peer fed.ClusterID, people map[int]fed.Found) (map[int]protocol.UserID, error) {
	pending := make(map[int]protocol.Pending, len(people))
	for i, p := range people {
		wait, err := m.cfg.State.Start(ctx, &protocol.AddAlias{Cluster: peer, User: uint32(p.ID), Profile: encodeRecord(p.Profile)})
		if err != nil {
			return nil, err
		}
		pending[i] = wait
	}
	met := make(map[int]protocol.UserID, len(people))
	var first error
	for i, p := range pending {
		got, err := p.Wait(ctx)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if res, ok := got.(protocol.AddAliasResult); ok {
			met[i] = res.User
		}
	}
	return met, first
}

// Search finds people of peers that share their directory and can be reached now, by a part of their names: at most limit (0: 20; 50 at most). They are given a place in
// this cluster's directory, so that they can be written to. What is not found is no error.
func (m *Manager) Search(ctx context.Context, me protocol.UserID, text string, limit int) (users []protocol.User, err error) {
	if limit <= 0 {
		limit = usualFound
	}
	if err := checkSearch(text); err != nil {
		return nil, err
	}
	if _, _, err := m.identity(); protocol.CodeOf(err) == protocol.CodeNotFound {
		return nil, nil // there are no others
	}
	err = m.onLeader(ctx, opSearch, searchCall{me, text, min(limit, mostFound)}, &users)
	return users, err
}

func checkSearch(text string) error {
	return protocol.CheckName("what is searched", text, mostText)
}

// askAround asks all peers at once and lets those found in. Of an address, as ben@beijing.example, the name is asked for at the peer that the rest means.
func (m *Manager) askAround(ctx context.Context, c *searchCall) ([]protocol.User, error) {
	peers, err := m.cfg.State.FedPeers()
	if err != nil {
		return nil, err
	}
	name, domain, isAddress := strings.Cut(strings.ToLower(strings.TrimSpace(c.Text)), "@")
	if isAddress = isAddress && strings.TrimSpace(name) != ""; isAddress {
		c = &searchCall{Me: c.Me, Text: name, Limit: c.Limit}
	}
	peers = slices.DeleteFunc(peers, func(p fed.PeerStatus) bool {
		if isAddress && !strings.HasPrefix(domainOf(&p), domain) {
			return true
		}
		return p.Peer.State != fed.PeerConfirmed || !p.Peer.In.Has(fed.AllowDirectory) || m.linkOf(p.Cluster) == nil
	})
	found := make([][]protocol.User, len(peers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(searchedPeers)
	for i := range peers {
		group.Go(func() error {
			var err error
			if found[i], err = m.searchAt(ctx, peers[i].Cluster, c); err != nil {
				m.log.Debug("a peer does not search", "peer", peers[i].Cluster.String(), "error", err)
			}
			return nil // what others find is shown
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return inTurn(found, c.Limit), nil
}

// inTurn takes from each in turn, so that no office hides the others.
func inTurn(of [][]protocol.User, limit int) []protocol.User {
	all := []protocol.User{}
	for i, more := 0, true; more && len(all) < limit; i++ {
		more = false
		for _, users := range of {
			if i < len(users) && len(all) < limit {
				all, more = append(all, users[i]), true
			}
		}
	}
	return all
}

// searchAt asks one peer, and gives those found aliases.
func (m *Manager) searchAt(ctx context.Context, peer fed.ClusterID, c *searchCall) ([]protocol.User, error) {
	asking, cancel := context.WithTimeout(ctx, searchWait)
	defer cancel()
	got, err := m.ask(asking, peer, fed.Request{Author: c.Me, Search: &fed.Search{Text: c.Text, Limit: uint32(c.Limit)}})
	if err != nil {
		return nil, err
	}
	found := got.Found[:min(len(got.Found), c.Limit)]
	ids := make([]protocol.UserID, len(found))
	strangers := map[int]fed.Found{}
	for i, f := range found {
		if f.ID == 0 || f.ID >= protocol.MaxLocalID {
			continue
		}
		if ids[i], err = m.cfg.State.AliasOf(fed.UserRef{Cluster: peer, ID: f.ID}); err != nil {
			return nil, err
		}
		if ids[i] == 0 || !m.isCalled(ids[i], &f.Profile) {
			strangers[i] = f
		}
	}
	met, err := m.meet(ctx, peer, strangers)
	if err != nil {
		m.log.Info("somebody who was found at a peer can't be let in", "peer", peer.String(), "error", err)
	}
	for i, u := range met {
		ids[i] = u
	}
	var users []protocol.User
	for _, id := range ids {
		if id == 0 {
			continue
		}
		u, err := m.cfg.State.UserByID(id)
		if err != nil {
			return nil, err
		}
		if u.Status != protocol.StatusLeft {
			users = append(users, u)
		}
	}
	return users, nil
}

// isCalled reports whether somebody is shown here as his own cluster says: then nothing has to be written.
func (m *Manager) isCalled(u protocol.UserID, p *fed.Profile) bool {
	known, err := m.cfg.State.UserByID(u)
	return err == nil && strings.HasPrefix(known.Name, p.Login+"@") && strings.HasPrefix(known.Nick, p.Nick) && known.Avatar == p.Avatar
}

// searchFor finds people of this cluster for somebody of the peer, if the directory is shared with it.
func (a *attendant) searchFor(r *fed.Request) ([]fed.Found, error) {
	if !a.rules.out.Has(fed.AllowDirectory) {
		return nil, says(protocol.CodeForbidden, "the rules of the link between the two offices don't share the directory")
	}
	if err := checkSearch(r.Search.Text); err != nil {
		return nil, err
	}
	ids, err := a.m.ops.people.find(a.m.cfg.State, r.Search.Text, int(min(r.Search.Limit, mostFound)))
	if err != nil {
		return nil, err
	}
	var found []fed.Found
	for _, id := range ids {
		u, err := a.m.cfg.State.UserByID(id)
		if err != nil {
			return nil, err
		}
		found = append(found, fed.Found{ID: id, Profile: a.m.profileOf(&u)})
	}
	return found, nil
}
