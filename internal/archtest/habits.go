package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
)

// CheckNames finds packages named after nothing.
func CheckNames(t *Tree) []Problem {
	var problems []Problem
	for _, p := range t.Packages {
		switch name := path.Base(p.Dir); name {
		case "util", "utils", "common", "helper", "helpers", "misc", "manager", "base", "shared":
			problems = append(problems, Problem{Check: "names", Where: p.Dir,
				Text: fmt.Sprintf("%s: %q says nothing: name the package by what it knows", p.Dir, name)})
		}
	}
	return problems
}

// CheckHabits finds init functions, panics outside tests, and waiting by time.Sleep. Sleeping inside a
// synctest bubble is fine, where time is virtual.
func CheckHabits(t *Tree) []Problem {
	var problems []Problem
	add := func(check, where string, n ast.Node, text string) {
		problems = append(problems, Problem{Check: check, Where: where, Text: t.at(n) + ": " + where + " " + text})
	}
	t.eachFile(func(p *Package, f *File) {
		for _, decl := range f.Syntax.Decls {
			where := p.Dir
			if fn, ok := decl.(*ast.FuncDecl); ok {
				where = funcName(p, fn)
				if fn.Recv == nil && fn.Name.Name == "init" {
					add("init", where, fn, "works by side effect: let the caller ask for it")
				}
			}
			inspectCalls(decl, func(call *ast.CallExpr) {
				if isIdent(call.Fun, "panic") && !f.Test {
					add("panic", where, call, "panics: return an error")
				}
				if isSelector(call.Fun, "time", "Sleep") {
					add("sleep", where, call, "sleeps: use synctest, or wait for a condition with a context")
				}
			})
		}
	})
	return problems
}

// inspectCalls visits the calls below n, except inside functions given to synctest.Test.
func inspectCalls(n ast.Node, visit func(*ast.CallExpr)) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		visit(call)
		return !isSelector(call.Fun, "synctest", "Test")
	})
}

// CheckLeaks finds packages that start goroutines and have no TestMain with goleak.
func CheckLeaks(t *Tree) []Problem {
	var problems []Problem
	for _, p := range t.Packages {
		start := firstGo(p)
		if start != nil && !slices.ContainsFunc(p.Files, checksLeaks) {
			problems = append(problems, Problem{Check: "leaks", Where: p.Dir,
				Text: t.at(start) + ": " + p.Dir + " starts goroutines: its TestMain has to call goleak.VerifyTestMain"})
		}
	}
	return problems
}

// firstGo is a place in p, tests left out, where a goroutine starts: a go statement, or a Go method as errgroup and WaitGroup have.
func firstGo(p *Package) ast.Node {
	var found ast.Node
	for _, f := range p.Files {
		if f.Test || f.Generated {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = n
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" {
					found = n
				}
			}
			return found == nil
		})
	}
	return found
}

func checksLeaks(f *File) bool {
	if !f.Test {
		return false
	}
	found := false
	for _, decl := range f.Syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "TestMain" {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && isIdent(sel.X, "goleak") {
				found = true
			}
			return !found
		})
	}
	return found
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == name && isIdent(sel.X, pkg)
}
