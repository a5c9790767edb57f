package archtest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// CheckDependencies compares the modules that go.mod requires directly, or that a file of the module imports, with the
// headings of doc ("### `module/path`", several in one heading if they go together): each needs one with a paragraph below it.
func CheckDependencies(t *Tree, doc string) ([]Problem, error) {
	gomod, err := fs.ReadFile(t.fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(t.fsys, doc)
	if err != nil {
		return nil, err
	}
	all, direct := requirements(string(gomod))
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, imported := range importsOf(f) {
				if m := moduleFor(imported, all); m != "" && !slices.Contains(direct, m) {
					direct = append(direct, m)
				}
			}
		}
	}
	explained := explanations(prose(string(text)))
	var problems []Problem
	add := func(where, text string) {
		problems = append(problems, Problem{Check: "dependencies", Where: where, Text: text})
	}
	for _, m := range direct {
		paragraph, ok := explained[m]
		switch {
		case !ok:
			add(m, fmt.Sprintf("%s: no heading for %s, which go.mod requires", doc, m))
		case !paragraph:
			add(m, fmt.Sprintf("%s: nothing is said about %s", doc, m))
		}
	}
	for m := range explained {
		if !slices.Contains(direct, m) {
			add(m, fmt.Sprintf("%s: explains %s, which is no direct dependency", doc, m))
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Text, b.Text) })
	return problems, nil
}

// requirements lists the modules that go.mod requires, and those among them that it does not call indirect.
func requirements(gomod string) (all, direct []string) {
	block := ""
	for line := range strings.Lines(gomod) {
		code, comment, _ := strings.Cut(line, "//")
		fields := strings.Fields(code)
		if block == "" && len(fields) == 2 && fields[1] == "(" {
			block = fields[0]
			continue
		}
		if len(fields) == 1 && fields[0] == ")" {
			block = ""
			continue
		}
		if block != "" {
			fields = append([]string{block}, fields...)
		}
		if len(fields) < 3 || fields[0] != "require" {
			continue
		}
		all = append(all, fields[1])
		if strings.TrimSpace(comment) != "indirect" {
			direct = append(direct, fields[1])
		}
	}
	return all, direct
}

// moduleFor is the module that provides an import path: the longest that fits.
func moduleFor(imported string, modules []string) string {
	best := ""
	for _, m := range modules {
		if within(imported, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// explanations maps the modules named in headings of the third level to whether text follows.
func explanations(lines []string) map[string]bool {
	explained := map[string]bool{}
	var current []string
	for _, line := range lines {
		if strings.HasPrefix(line, "#") {
			current = nil
			if strings.HasPrefix(line, "### ") {
				for _, m := range mdCode.FindAllStringSubmatch(line, -1) {
					explained[m[1]] = false
					current = append(current, m[1])
				}
			}
			continue
		}
		if strings.TrimSpace(line) != "" {
			for _, m := range current {
				explained[m] = true
			}
		}
	}
	return explained
}
