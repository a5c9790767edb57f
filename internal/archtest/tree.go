// Package archtest checks by machine what a reviewer would otherwise repeat: which package may import which, how long
// things may get, that rules are cited where they are obeyed and tested, and that the documents agree with the tree.
//
// It works on syntax alone, so that it is quick and sees test files and build tags alike. The tables are in table.go and
// exceptions.go; a check is a function from a Tree to Problems.
package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Tree is a Go module's source and documents.
type Tree struct {
	// Module is the path in go.mod.
	Module string
	// Packages are the folders with Go files, by Dir.
	Packages []*Package
	fsys     fs.FS
	fset     *token.FileSet
}

// Package is one folder with Go files; an external test package (foo_test) counts as part of it.
type Package struct {
	// Dir is slash-separated and relative to the module; "." is its root.
	Dir   string
	Files []*File
}

// File is one parsed Go file.
type File struct {
	// Path is relative to the module.
	Path      string
	Text      []byte
	Syntax    *ast.File
	Test      bool
	Generated bool
}

// Problem is one violation.
type Problem struct {
	// Check names the check, Where what the problem is about; an Exception names the two.
	Check, Where string
	// Size is what is over a budget, 0 elsewhere.
	Size int
	// Text says where to look and what is wrong.
	Text string
}

// Load reads the module in fsys. Folders that the go command ignores are left out, testdata too.
func Load(fsys fs.FS) (*Tree, error) {
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	t := &Tree{Module: moduleOf(mod), fsys: fsys, fset: token.NewFileSet()}
	packages := map[string]*Package{}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return t.enter(p, d.Name())
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		f, err := t.parse(p)
		if err != nil {
			return err
		}
		dir := path.Dir(p)
		if packages[dir] == nil {
			packages[dir] = &Package{Dir: dir}
			t.Packages = append(t.Packages, packages[dir])
		}
		packages[dir].Files = append(packages[dir].Files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(t.Packages, func(i, j int) bool { return t.Packages[i].Dir < t.Packages[j].Dir })
	return t, nil
}

// enter tells WalkDir which folders to leave out.
func (t *Tree) enter(p, name string) error {
	if p == "." {
		return nil
	}
	if name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(t.fsys, path.Join(p, "go.mod")); err == nil {
		return fs.SkipDir // another module
	}
	return nil
}

func (t *Tree) parse(p string) (*File, error) {
	text, err := fs.ReadFile(t.fsys, p)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(t.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return &File{
		Path: p, Text: text, Syntax: syntax,
		Test: strings.HasSuffix(p, "_test.go"), Generated: ast.IsGenerated(syntax),
	}, nil
}

// at is "file:line" of a node.
func (t *Tree) at(n ast.Node) string {
	pos := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", pos.Filename, pos.Line)
}

// lines is the number of lines that a node covers.
func (t *Tree) lines(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}

// eachFile calls visit for every hand-written file.
func (t *Tree) eachFile(visit func(*Package, *File)) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if !f.Generated {
				visit(p, f)
			}
		}
	}
}

// local is the folder of an import path inside the module.
func (t *Tree) local(imported string) (dir string, ok bool) {
	if imported == t.Module {
		return ".", true
	}
	return strings.CutPrefix(imported, t.Module+"/")
}

// importsOf lists the import paths of a file.
func importsOf(f *File) []string {
	var paths []string
	for _, spec := range f.Syntax.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// isStd reports whether an import path is the standard library's: its first element has no dot.
func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// within reports whether p is prefix itself or below it.
func within(p, prefix string) bool {
	return p == prefix || strings.HasPrefix(p, prefix+"/")
}

func moduleOf(gomod []byte) string {
	for line := range bytes.Lines(gomod) {
		if name, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("module ")); ok {
			return string(bytes.TrimSpace(name))
		}
	}
	return ""
}
