package chat

import (
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/protocol"
)

// Who is asked for before the directory has come is found when it has.
func TestOpenEarly(t *testing.T) {
	m := New(me, "ann")
	m.write("/open bo")
	if m.Open() != nil || m.Draft().Text() != "" {
		t.Errorf("open %v, typed %q", m.Open(), m.Draft().Text())
	}
	m.Users([]client.User{person(2, "bo")})
	if m.Open() == nil || m.Open().In != protocol.WithUser(2) {
		t.Errorf("open %v", m.Open())
	}
	m.write("/open eve")
	m.Listed()
	if m.Notice != `there is no user and no group of yours named "eve"` {
		t.Errorf("notice %q", m.Notice)
	}
}

// What is entered while a conversation is being looked for is for that one and no other, and stays to be sent if it is not found.
func TestTypedAhead(t *testing.T) {
	early := func() *Model {
		m := New(me, "ann")
		m.Tick(begin)
		m.Users([]client.User{person(2, "bo")})
		m.Show(protocol.WithUser(2))
		m.Effects()
		for _, line := range []string{"/open 李", "你好", "/burn 30 soon gone", "/nonsense", "/open eve", "for eve"} {
			m.write(line)
		}
		m.Key(Key{Typed, "and"})
		if sent := effects[Send](m); len(sent) != 0 {
			t.Errorf("sent %v before the conversation was there", sent)
		}
		return m
	}
	m := early()
	if m.Draft().Text() != "and" {
		t.Errorf("typed %q", m.Draft().Text())
	}
	m.Users([]client.User{person(3, "李")})
	sent := effects[Send](m)
	if len(sent) != 2 || sent[0].In != protocol.WithUser(3) || sent[0].Text != "你好" || sent[1].Burn != 30*time.Second || m.Open().In != protocol.WithUser(3) {
		t.Errorf("sent %+v in %v", sent, m.Open())
	}
	m.Users([]client.User{person(4, "eve")})
	sent = effects[Send](m)
	if len(sent) != 1 || sent[0].In != protocol.WithUser(4) || m.Draft().Text() != "and" {
		t.Errorf("sent %+v, typed %q", sent, m.Draft().Text())
	}

	for name, end := range map[string]func(*Model){"Escape": func(m *Model) { m.Key(Key{Code: Escape}) }, "nobody": (*Model).Listed, "elsewhere": func(m *Model) { m.Show(protocol.WithUser(5)) }} {
		m := early()
		end(m)
		m.Show(protocol.WithUser(2))
		m.Users([]client.User{person(3, "李")})
		if got, want := m.Draft().Text(), "你好\n/burn 30 soon gone\n/nonsense\n/open eve\nfor eve\nand"; got != want || m.Open().In != protocol.WithUser(2) {
			t.Errorf("%s: typed %q in %v, want %q", name, got, m.Open().In, want)
		}
		if sent := effects[Send](m); len(sent) != 0 {
			t.Errorf("%s: sent %v", name, sent)
		}
	}
}
