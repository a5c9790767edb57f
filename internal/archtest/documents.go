package archtest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdCode    = regexp.MustCompile("`([^`]+)`")
	mdHeading = regexp.MustCompile(`^#+ +(.*)$`)
	// A path of a file or folder: no wildcard, no placeholder, no blank.
	plainPath = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?$`)
)

// CheckLinks finds links in Markdown files to files or headings that do not exist, and paths in backquotes that do not:
// those that begin with one of the folders in roots.
func CheckLinks(t *Tree, roots []string) ([]Problem, error) {
	var problems []Problem
	err := fs.WalkDir(t.fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test has cleaned up meanwhile
		}
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (d.Name()[0] == '.' || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if path.Ext(p) != ".md" {
			return nil
		}
		text, err := fs.ReadFile(t.fsys, p)
		if err != nil {
			return err
		}
		found, err := t.checkDocument(p, prose(string(text)), roots)
		problems = append(problems, found...)
		return err
	})
	return problems, err
}

func (t *Tree) checkDocument(p string, lines []string, roots []string) ([]Problem, error) {
	var problems []Problem
	bad := func(i int, target string) {
		if lines[i] != "" {
			problems = append(problems, Problem{Check: "links", Where: p + " -> " + target,
				Text: fmt.Sprintf("%s:%d: %s does not exist", p, i+1, target)})
		}
	}
	for i, line := range lines {
		for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(line, ""), -1) {
			ok, err := t.resolves(p, m[1])
			if err != nil {
				return nil, err
			}
			if !ok {
				bad(i, m[1])
			}
		}
		for _, m := range mdCode.FindAllStringSubmatch(line, -1) {
			root, _, isPath := strings.Cut(m[1], "/")
			if isPath && slices.Contains(roots, root) && plainPath.MatchString(m[1]) && !t.exists(path.Clean(m[1])) {
				bad(i, m[1])
			}
		}
	}
	return problems, nil
}

// resolves reports whether a link target in document p leads somewhere. Other sites are not asked.
func (t *Tree) resolves(p, target string) (bool, error) {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return true, nil
	}
	file, anchor, _ := strings.Cut(target, "#")
	full := p
	if file != "" {
		full = path.Join(path.Dir(p), file)
	}
	if !t.exists(full) {
		return false, nil
	}
	if anchor == "" || path.Ext(full) != ".md" {
		return true, nil
	}
	text, err := fs.ReadFile(t.fsys, full)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(prose(string(text)), func(line string) bool {
		m := mdHeading.FindStringSubmatch(line)
		return len(m) == 2 && slug(m[1]) == anchor
	}), nil
}

func (t *Tree) exists(p string) bool {
	_, err := fs.Stat(t.fsys, p)
	return err == nil
}

// slug is the anchor that hosts of Markdown give a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, heading)
}

// prose is the lines of a Markdown text, those inside code fences blanked.
func prose(text string) []string {
	lines := strings.Split(text, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fenced || fence {
			lines[i] = ""
		}
		fenced = fenced != fence
	}
	return lines
}

// roots are the folders at the top of the module that a document may mention by path.
func (t *Tree) roots() []string {
	roots := []string{"docs", "deploy", "scripts", "testdata", "tools"}
	for _, p := range t.Packages {
		root, _, _ := strings.Cut(p.Dir, "/")
		if root != "." && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots
}
