package archtest

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Keys says where rule keys are defined and checked.
type Keys struct {
	// Doc defines them, one a line: "- **[KEY]** …".
	Doc string
	// Prefix is what all of them begin with, before a hyphen, a topic and a number.
	Prefix string
	// Scripts is the folder whose files count as tests.
	Scripts string
	// Pages is the folder of the web client, whose TypeScript obeys and checks rules as Go does; empty: there is none.
	Pages string
	// NotCode are folders whose Go files neither obey nor check a rule.
	NotCode []string
}

func (k *Keys) pattern() string { return k.Prefix + `-[A-Z0-9]+-[0-9]+` }

// definition matches a line of Doc that defines a key.
func (k *Keys) definition() *regexp.Regexp {
	return regexp.MustCompile(`^- \*\*\[(` + k.pattern() + `)\]\*\* `)
}

func (k *Keys) mention() *regexp.Regexp { return regexp.MustCompile(`\b` + k.pattern() + `\b`) }

// CheckKeys finds rules that no code or no test cites, rules defined twice, and citations of rules that do not exist.
func CheckKeys(t *Tree, k Keys) ([]Problem, error) {
	doc, err := fs.ReadFile(t.fsys, k.Doc)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	add := func(key, text string) {
		problems = append(problems, Problem{Check: "keys", Where: key, Text: text})
	}
	var keys []string
	definition, mention := k.definition(), k.mention()
	for line := range strings.Lines(string(doc)) {
		if m := definition.FindStringSubmatch(line); m != nil {
			if slices.Contains(keys, m[1]) {
				add(m[1], k.Doc+": "+m[1]+" is defined twice")
			}
			keys = append(keys, m[1])
		}
	}
	code, tests, err := t.citations(k, mention)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if code[key] == "" {
			add(key, fmt.Sprintf("%s: %s is cited by no code that obeys it", k.Doc, key))
		}
		if tests[key] == "" {
			add(key, fmt.Sprintf("%s: %s is cited by no test and by no script under %s", k.Doc, key, k.Scripts))
		}
	}
	everywhere := map[string]string{}
	for _, cited := range []map[string]string{mentions(mention, k.Doc, doc), tests, code} {
		for key, file := range cited {
			everywhere[key] = file
		}
	}
	for key, file := range everywhere {
		if !slices.Contains(keys, key) {
			add(key, fmt.Sprintf("%s: cites %s, which %s does not define", file, key, k.Doc))
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Text, b.Text) })
	return problems, nil
}

// citations maps each key cited in code, and each cited in tests, to a file that cites it.
func (t *Tree) citations(k Keys, mention *regexp.Regexp) (code, tests map[string]string, err error) {
	code, tests = map[string]string{}, map[string]string{}
	t.eachFile(func(p *Package, f *File) {
		into := code
		if f.Test {
			into = tests
		} else if slices.ContainsFunc(k.NotCode, func(dir string) bool { return within(p.Dir, dir) }) {
			return
		}
		for key, file := range mentions(mention, f.Path, f.Text) {
			into[key] = file
		}
	})
	err = t.cited(mention, k.Scripts, func(string) map[string]string { return tests })
	if err != nil || k.Pages == "" {
		return code, tests, err
	}
	return code, tests, t.cited(mention, k.Pages, func(file string) map[string]string {
		switch {
		case strings.HasSuffix(file, ".test.ts"), strings.HasSuffix(file, ".test.tsx"):
			return tests
		case strings.HasSuffix(file, ".ts"), strings.HasSuffix(file, ".tsx"):
			return code
		default:
			return nil
		}
	})
}

// cited adds the keys in the files of a folder to what into says; nil: the file does not count.
func (t *Tree) cited(mention *regexp.Regexp, dir string, into func(file string) map[string]string) error {
	return fs.WalkDir(t.fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		keys := into(p)
		if keys == nil {
			return nil
		}
		text, err := fs.ReadFile(t.fsys, p)
		for key, file := range mentions(mention, p, text) {
			keys[key] = file
		}
		return err
	})
}

func mentions(mention *regexp.Regexp, file string, text []byte) map[string]string {
	keys := map[string]string{}
	for _, key := range mention.FindAllString(string(text), -1) {
		keys[key] = file
	}
	return keys
}
