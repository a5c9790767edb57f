package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckComments finds exported names, tests and commands left out, whose comment is missing or does not begin with the
// name. In a group of constants or variables the group's comment does for all.
func CheckComments(t *Tree) []Problem {
	var problems []Problem
	t.eachFile(func(p *Package, f *File) {
		if f.Test || f.Syntax.Name.Name == "main" {
			return
		}
		need := func(n ast.Node, name string, docs ...*ast.CommentGroup) {
			if ast.IsExported(name) && !anyBegins(docs, name) {
				problems = append(problems, Problem{Check: "comments", Where: qualified(p, name),
					Text: fmt.Sprintf("%s: %s needs a comment that begins with its name", t.at(n), qualified(p, name))})
			}
		}
		for _, decl := range f.Syntax.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)) {
					need(d, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				needSpecs(d, need)
			}
		}
	})
	return problems
}

func needSpecs(d *ast.GenDecl, need func(ast.Node, string, ...*ast.CommentGroup)) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			need(s, s.Name.Name, d.Doc, s.Doc, s.Comment)
		case *ast.ValueSpec:
			// A comment on the group, above or beside: what it begins with is free, for it may speak of several.
			if d.Lparen != token.NoPos && (d.Doc != nil || s.Doc != nil || s.Comment != nil) {
				continue
			}
			for _, name := range s.Names {
				need(s, name.Name, d.Doc, s.Comment)
			}
		}
	}
}

// anyBegins reports whether one of the comments begins with the name, perhaps after an article.
func anyBegins(docs []*ast.CommentGroup, name string) bool {
	for _, doc := range docs {
		text := doc.Text()
		for _, article := range []string{"", "A ", "An ", "The "} {
			rest, ok := strings.CutPrefix(text, article+name)
			next, _ := utf8.DecodeRuneInString(rest)
			if ok && !unicode.IsLetter(next) && !unicode.IsDigit(next) && next != '_' {
				return true
			}
		}
	}
	return false
}
