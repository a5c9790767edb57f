package chat

import (
	"slices"
	"strings"
)

// Suggestions are the commands, or the names, that what is being typed may become.
func (m *Model) Suggestions() []Command {
	text := m.Draft().Text()
	if !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") || strings.Contains(text, "\n") {
		return nil
	}
	name, _, more := strings.Cut(text, " ")
	var fit []Command
	for _, c := range Commands() {
		if c.Name == name || !more && strings.HasPrefix(c.Name, name) {
			fit = append(fit, c)
		}
	}
	return fit
}

// complete replaces the last word by the next one that it may become.
func (m *Model) complete(by int) {
	d := m.Draft()
	t := &m.tabs
	if t.began == "" {
		t.began, t.choice = d.Text(), 0
		if by < 0 {
			t.choice = -1
		}
	} else {
		t.choice += by
	}
	begin := strings.LastIndexByte(t.began, ' ') + 1
	fit := m.words(t.began[:begin], t.began[begin:])
	if len(fit) == 0 {
		return
	}
	n := len(fit)
	d.Set(t.began[:begin] + fit[(t.choice%n+n)%n])
	if n == 1 {
		d.Insert(" ")
		t.began = ""
	}
}

// words are what may follow a beginning and begin with a prefix.
func (m *Model) words(before, prefix string) []string {
	var all []string
	command, _, _ := strings.Cut(before, " ")
	switch {
	case before == "":
		for _, c := range Commands() {
			all = append(all, c.Name)
		}
	case command == "/open":
		for _, c := range m.list {
			if c.Group() {
				all = append(all, strings.TrimPrefix(m.Title(c), "#"))
			}
		}
		all = append(all, m.names()...)
	case command == "/invite", command == "/group" && strings.Count(before, " ") > 1:
		all = m.names()
	}
	all = slices.DeleteFunc(all, func(w string) bool {
		return len(w) < len(prefix) || !strings.EqualFold(w[:len(prefix)], prefix)
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func (m *Model) names() []string {
	var list []string
	for _, p := range m.People() {
		if p.ID != m.Me {
			list = append(list, p.Name)
		}
	}
	return list
}
