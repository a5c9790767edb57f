package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

const lin protocol.UserID = protocol.MaxLocalID

// deaf is somebody of an office that takes no files.
const deaf = lin + 9

func (s *fakeStore) GroupDomain(g protocol.GroupID) (string, error) {
	if g < protocol.MaxLocalID {
		return "", notFound()
	}
	return "hangzhou.example", s.broken
}

// fakeHubs answer as told and remember what they were asked.
type fakeHubs struct {
	err   error
	asked []string
}

func (h *fakeHubs) ChangeMembers(_ context.Context, actor protocol.UserID, g protocol.GroupID, change protocol.MemberChange, users []protocol.UserID) error {
	h.asked = append(h.asked, fmt.Sprint(actor, g-protocol.MaxLocalID, change, users))
	return h.err
}

// officeStore is a store with a group of another office, 2^30, and Lin, who is of that office.
func officeStore() *fakeStore {
	s := groupStore()
	s.users[lin] = protocol.User{ID: lin, Name: "lin@hangzhou.example", Nick: "Lin (Hangzhou)", Remote: true, Address: "lin@hangzhou.example"}
	s.groups[protocol.MaxLocalID] = protocol.Group{ID: protocol.MaxLocalID, Type: protocol.GroupTemp, Version: 1, Name: "tea"}
	s.members[protocol.MaxLocalID] = []protocol.UserID{1, 2, lin}
	return s
}

// [TT-FED-5]: a group of another office is changed there, but left here; the hub's no is the answer.
func TestChangeMembersAbroad(t *testing.T) {
	const add, del = protocol.MembersAdd, protocol.MembersDel
	refused := func(c protocol.Code) error { return protocol.Errorf(c, "no") }
	for _, tt := range []struct {
		name     string
		actor    protocol.UserID
		group    protocol.GroupID
		change   protocol.MemberChange
		users    []protocol.UserID
		hub      error
		want     protocol.Code
		asked    string
		executed bool
		current  []protocol.UserID
		changed  []protocol.UserID
	}{
		{"add", 1, 0, add, []protocol.UserID{3, 2, 4, 99}, nil, 0, "1 0 1 [3]", false, []protocol.UserID{1, 2, 3, lin}, []protocol.UserID{3}},
		{"remove", 1, 0, del, []protocol.UserID{lin, 3}, nil, 0, fmt.Sprintf("1 0 2 [%d]", lin), false, []protocol.UserID{1, 2}, []protocol.UserID{lin}},
		{"remove two, oneself among them", 1, 0, del, []protocol.UserID{1, 2}, nil, 0, "1 0 2 [1 2]", false, []protocol.UserID{lin}, []protocol.UserID{1, 2}},
		{"leave", 1, 0, del, []protocol.UserID{1}, nil, 0, "", true, nil, []protocol.UserID{1}},
		{"a group of this office", 1, 2, add, []protocol.UserID{lin}, nil, 0, "", true, nil, []protocol.UserID{lin}},
		{"stranger", 3, 0, add, []protocol.UserID{3}, nil, protocol.CodeForbidden, "", false, nil, nil},
		{"nobody new", 1, 0, add, []protocol.UserID{2}, nil, protocol.CodeInvalid, "", false, nil, nil},
		{"out of reach", 1, 0, add, []protocol.UserID{3}, refused(protocol.CodeUnavailable), protocol.CodeUnavailable, "1 0 1 [3]", false, nil, nil},
		{"refused", 1, 0, add, []protocol.UserID{3}, refused(protocol.CodeForbidden), protocol.CodeForbidden, "1 0 1 [3]", false, nil, nil},
		{"unknown there", 1, 0, add, []protocol.UserID{3}, refused(protocol.CodeNotFound), protocol.CodeForbidden, "1 0 1 [3]", false, nil, nil},
		{"slow", 1, 0, add, []protocol.UserID{3}, context.DeadlineExceeded, protocol.CodeUnavailable, "1 0 1 [3]", false, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, hubs := officeStore(), &fakeHubs{err: tt.hub}
			if tt.group == 0 {
				tt.group = protocol.MaxLocalID
			}
			members := slices.Clone(s.members[tt.group])
			got, err := NewGroups(s).WithHubs(hubs).ChangeMembers(t.Context(), protocol.ChangeMembers{Actor: tt.actor, Group: tt.group, Change: tt.change, Members: tt.users})
			wantCode(t, "change", err, tt.want)
			if asked := strings.Join(hubs.asked, "; "); asked != tt.asked || (s.last() != nil) != tt.executed {
				t.Errorf("asked %q, want %q; executed %v", asked, tt.asked, s.last())
			}
			if !slices.Equal(got.Current, tt.current) || !slices.Equal(got.Changed, tt.changed) {
				t.Errorf("%+v, want %v and %v", got, tt.current, tt.changed)
			}
			if !slices.Equal(s.members[tt.group], members) {
				t.Error("the store's own list was changed")
			}
		})
	}
	s := officeStore() // without anybody to ask the store decides
	if _, err := NewGroups(s).ChangeMembers(t.Context(), protocol.ChangeMembers{Actor: 1, Group: protocol.MaxLocalID, Change: add, Members: []protocol.UserID{3}}); err != nil || s.last() == nil {
		t.Errorf("%v, executed %v", err, s.last())
	}
}

// [TT-FED-1]: people of other offices are members of groups made here like any other; those who are not known are left out.
func TestCreateGroupAbroad(t *testing.T) {
	s := officeStore()
	got, err := NewGroups(s).WithHubs(&fakeHubs{}).Create(t.Context(), protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "tea", Members: []protocol.UserID{lin + 7, lin, 1}})
	if err != nil || !slices.Equal(got.Members, []protocol.UserID{1, lin}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// [TT-FED-2]
func TestGroupInfoAbroad(t *testing.T) {
	s := officeStore()
	got, err := NewGroups(s).Info(t.Context(), 1, []protocol.GroupVersion{{ID: 2}, {ID: protocol.MaxLocalID}})
	if err != nil || len(got) != 2 || got[0].Domain != "" || got[1].Domain != "hangzhou.example" || !slices.Equal(got[1].Members, []protocol.UserID{1, 2, lin}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// [TT-FED-7]
func TestFilesAbroad(t *testing.T) {
	s := officeStore()
	s.users[deaf] = protocol.User{ID: deaf, Remote: true}
	transfers := new(fakeTransfers)
	f := NewFiles(s, transfers)
	_, _, err := f.Request(t.Context(), 1, lin, "a.txt", 1, true)
	wantCode(t, "request", err, 0)
	_, _, err = f.Request(t.Context(), 1, deaf, "a.txt", 1, true)
	wantCode(t, "request where no files may go", err, protocol.CodeForbidden)
	wantCode(t, "add what another server has", f.AddOffline(t.Context(), 1, lin, "t", "a.txt", 1), protocol.CodeForbidden)
	wantCode(t, "add what this one carries", f.AddOffline(t.Context(), 1, lin, transfers.task(1), "a.txt", 1), 0)
	if s.last() != nil || transfers.offers != 1 {
		t.Errorf("executed %v", s.last())
	}
}

// fakeAbroad answers after a while.
type fakeAbroad struct {
	users []protocol.User
	err   error
	takes time.Duration
	asked []string
}

func (a *fakeAbroad) Search(ctx context.Context, _ protocol.UserID, text string, _ int) ([]protocol.User, error) {
	a.asked = append(a.asked, text)
	select {
	case <-time.After(a.takes):
		return a.users, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func searchStore() *fakeStore {
	return newFakeStore(
		protocol.User{ID: 1, Name: "ann", Nick: "Ännchen", Updated: 10}, protocol.User{ID: 2, Name: "anna", Nick: "Anna", Updated: 10},
		protocol.User{ID: 3, Name: "joanna", Nick: "Jo", Updated: 10}, protocol.User{ID: 4, Name: "li", Nick: "李安", Domain: "lian", Updated: 10},
		protocol.User{ID: 6, Name: "aali", Updated: 10}, protocol.User{ID: 5, Name: "ann.left", Status: protocol.StatusLeft, Updated: 10},
		protocol.User{ID: lin, Name: "annika@hangzhou.example", Nick: "Annika (Hangzhou)", Address: "annika@hangzhou.example", Remote: true, Updated: 10})
}

func found(users []protocol.User) (ids []protocol.UserID) {
	for _, u := range users {
		ids = append(ids, u.ID)
	}
	return ids
}

// [TT-FED-6]: whom a text finds, in which order.
func TestSearch(t *testing.T) {
	abroad := &fakeAbroad{users: []protocol.User{{ID: lin, Address: "annika@hangzhou.example"}, {ID: lin + 1, Address: "Hannah@paris.example"}}}
	for _, tt := range []struct {
		text  string
		limit int
		want  []protocol.UserID
	}{
		{"ann", 20, []protocol.UserID{1, 2, 3, lin, lin + 1}},
		{" ANN ", 20, []protocol.UserID{1, 2, 3, lin, lin + 1}},
		{"ann", 4, []protocol.UserID{1, 2, 3, lin}},
		{"ann", 2, []protocol.UserID{1, 2}},
		{"ann", -1, []protocol.UserID{1}},
		{"ÄNN", 20, []protocol.UserID{1, lin, lin + 1}},
		{"安", 20, []protocol.UserID{4, lin, lin + 1}},
		{"lian", 20, []protocol.UserID{4, lin, lin + 1}},
		{"li", 20, []protocol.UserID{4, 6, lin, lin + 1}},
		{"hangzhou", 20, []protocol.UserID{lin, lin + 1}},
		{"nobody", 20, []protocol.UserID{lin, lin + 1}}, // whom others find is their affair
	} {
		got, err := NewBuddies(searchStore(), atNoon).WithAbroad(abroad).Search(t.Context(), 1, tt.text, tt.limit)
		if err != nil || !slices.Equal(found(got), tt.want) {
			t.Errorf("%q, %d: %v, %v; want %v", tt.text, tt.limit, found(got), err, tt.want)
		}
	}
	for text, want := range map[string][]protocol.UserID{"hannah@PARIS.example": {lin + 1}, "h@paris": {lin + 1}, "ann@nowhere": nil, "@paris": nil} { // addresses
		asked := &fakeAbroad{users: slices.Clone(abroad.users)}
		got, err := NewBuddies(searchStore(), atNoon).WithAbroad(asked).Search(t.Context(), 1, text, 20)
		login, _, _ := strings.Cut(text, "@")
		if err != nil || !slices.Equal(found(got), want) || login != "" && !slices.Equal(asked.asked, []string{login}) || login == "" && asked.asked != nil {
			t.Errorf("%q: %v, %v; asked %q", text, found(got), err, asked.asked)
		}
	}
	for text, want := range map[string]protocol.Code{"": protocol.CodeInvalid, "  ": protocol.CodeInvalid, "a\nb": protocol.CodeInvalid, strings.Repeat("x", 65): protocol.CodeTooLarge} {
		_, err := NewBuddies(searchStore(), atNoon).Search(t.Context(), 1, text, 5)
		wantCode(t, text, err, want)
	}
	_, err := NewBuddies(searchStore(), atNoon).Search(t.Context(), 0, "ann", 5)
	wantCode(t, "nobody", err, protocol.CodeUnauthenticated)
	many := newFakeStore()
	for id := range protocol.UserID(200) {
		many.users[id+1] = protocol.User{ID: id + 1, Name: fmt.Sprint("x", id)}
	}
	if got, err := NewBuddies(many, atNoon).Search(t.Context(), 1, "x", 1000); err != nil || len(got) != 50 {
		t.Errorf("%d, %v", len(got), err)
	}
}

// [TT-FED-6]: offices that don't answer hold nobody up.
func TestSearchWithoutOthers(t *testing.T) {
	away := protocol.Errorf(protocol.CodeUnavailable, "out of reach")
	for _, tt := range []struct {
		name, text string
		abroad     fakeAbroad
		want       []protocol.UserID
		code       protocol.Code
	}{
		{"slow", "joanna", fakeAbroad{takes: time.Hour}, []protocol.UserID{3}, 0},
		{"slow, nobody here", "nobody", fakeAbroad{takes: time.Hour}, nil, protocol.CodeUnavailable},
		{"away", "joanna", fakeAbroad{err: away}, []protocol.UserID{3}, 0},
		{"away, nobody here", "nobody", fakeAbroad{err: away}, nil, protocol.CodeUnavailable},
		{"some answered", "nobody", fakeAbroad{err: away, users: []protocol.User{{ID: lin}}}, []protocol.UserID{lin}, 0},
		{"nobody anywhere", "nobody", fakeAbroad{}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, err := NewBuddies(searchStore(), nil).WithAbroad(&tt.abroad).Search(t.Context(), 1, tt.text, 5)
				wantCode(t, "search", err, tt.code)
				if !slices.Equal(found(got), tt.want) || time.Since(began) > 2*time.Second {
					t.Errorf("%v after %v", found(got), time.Since(began))
				}
			})
		})
	}
}

// Whatever changes between searches, they see it, and read only what is new.
func TestSearchKeepsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := protocol.TimeOf(noon)
		s := newFakeStore()
		b := NewBuddies(s, func() time.Time { return now.Std() })
		names := rapid.SampledFrom([]string{"ann", "bo", "Ann-Bo", "lin"})
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now += protocol.Time(rapid.SampledFrom([]int{0, 1, 1000, 100_000}).Draw(t, "later"))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				id := protocol.UserID(rapid.IntRange(1, 5).Draw(t, "id"))
				status := rapid.SampledFrom([]protocol.UserStatus{protocol.StatusActive, protocol.StatusLeft}).Draw(t, "status")
				s.users[id] = protocol.User{ID: id, Name: names.Draw(t, "name"), Status: status, Updated: now}
				s.newest = now
			default:
				text := rapid.SampledFrom([]string{"a", "ann", "BO", "in"}).Draw(t, "text")
				got, err := b.Search(context.Background(), 9, text, 50)
				var want []protocol.UserID
				for id := range protocol.UserID(6) {
					if u, ok := s.users[id]; ok && u.Status != protocol.StatusLeft && strings.Contains(strings.ToLower(u.Name), strings.ToLower(text)) {
						want = append(want, id)
					}
				}
				ids := found(got)
				slices.Sort(ids)
				if err != nil || !slices.Equal(ids, want) {
					t.Fatalf("%q: %v, %v; want %v", text, ids, err, want)
				}
			}
		}
	})
	s := searchStore()
	s.newest = 10
	b := NewBuddies(s, atNoon)
	for range 3 {
		if _, err := b.Search(t.Context(), 1, "ann", 5); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(s.since, []protocol.Time{0, 11, 11}) {
		t.Errorf("read since %v", s.since)
	}
	s.broken = errors.New("damaged")
	_, err := b.Search(t.Context(), 1, "ann", 5)
	wantCode(t, "damaged", err, protocol.CodeInternal)
}
