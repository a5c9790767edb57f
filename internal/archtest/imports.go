package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Row says what one package may import besides the standard library.
type Row struct {
	// Dir is the package's folder.
	Dir string
	// Why is the reason the package exists, in a few words.
	Why string
	// Imports are the folders of this module it may import, each alone or with everything below it ("protocol/...").
	Imports []string
	// Modules are the prefixes of foreign import paths it may import.
	Modules []string
	// TestImports are further folders for its test files.
	TestImports []string
}

// Table is the import table.
type Table struct {
	Rows []Row
	// Everyone may import these folders.
	Everyone []string
	// Tests are the foreign import paths that every test file may import.
	Tests []string
	// Depth is the length of the longest chain of imports inside the module.
	Depth int
}

// CheckImports finds imports that the table does not allow, packages without a row and rows without a package.
func CheckImports(t *Tree, table Table) []Problem {
	rows := map[string]Row{}
	for _, r := range table.Rows {
		rows[r.Dir] = r
	}
	var problems []Problem
	for _, p := range t.Packages {
		row, ok := rows[p.Dir]
		if !ok {
			problems = append(problems, Problem{Check: "imports", Where: p.Dir,
				Text: p.Dir + ": no row in the import table: add one with a reason"})
			continue
		}
		delete(rows, p.Dir)
		for _, f := range p.Files {
			problems = append(problems, checkFileImports(t, table, row, f)...)
		}
	}
	for _, r := range table.Rows {
		if _, left := rows[r.Dir]; left {
			problems = append(problems, Problem{Check: "imports", Where: r.Dir,
				Text: r.Dir + ": has a row in the import table but there is no such package"})
		}
	}
	return problems
}

func checkFileImports(t *Tree, table Table, row Row, f *File) []Problem {
	var problems []Problem
	for _, imported := range importsOf(f) {
		dir, local := t.local(imported)
		ok := isStd(imported) && !local
		switch {
		case ok:
		case local:
			ok = dir == row.Dir || matches(dir, table.Everyone) || matches(dir, row.Imports) ||
				f.Test && matches(dir, row.TestImports)
		default:
			ok = hasPrefix(imported, row.Modules) || f.Test && hasPrefix(imported, table.Tests)
		}
		if !ok {
			problems = append(problems, Problem{Check: "imports", Where: row.Dir + " -> " + imported,
				Text: fmt.Sprintf("%s: %s may not import %s", f.Path, row.Dir, imported)})
		}
	}
	return problems
}

// CheckDepth finds chains of imports (test files left out) longer than the table allows, and circles.
func CheckDepth(t *Tree, table Table) []Problem {
	edges := map[string][]string{}
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, imported := range importsOf(f) {
				if dir, ok := t.local(imported); ok && !f.Test && !slices.Contains(edges[p.Dir], dir) {
					edges[p.Dir] = append(edges[p.Dir], dir)
				}
			}
		}
	}
	var problems []Problem
	for _, p := range t.Packages {
		chain := longestChain(p.Dir, edges, nil)
		if len(chain)-1 > table.Depth {
			problems = append(problems, Problem{Check: "depth", Where: p.Dir, Size: len(chain) - 1,
				Text: fmt.Sprintf("%s: import depth %d, at most %d: %s", p.Dir, len(chain)-1, table.Depth, strings.Join(chain, " -> "))})
		}
	}
	return problems
}

// longestChain starts at dir; above are the folders on the way there, which ends a circle.
func longestChain(dir string, edges map[string][]string, above []string) []string {
	if slices.Contains(above, dir) {
		return nil
	}
	var best []string
	for _, next := range edges[dir] {
		if c := longestChain(next, edges, append(above, dir)); len(c) > len(best) {
			best = c
		}
	}
	return append([]string{dir}, best...)
}

// matches reports whether dir is one of the patterns or below one that ends in "/...".
func matches(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if root, ok := strings.CutSuffix(p, "/..."); ok {
			return within(dir, root)
		}
		return dir == p
	})
}

func hasPrefix(imported string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return within(imported, p) })
}
