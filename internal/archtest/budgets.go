package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
)

// Budgets are the most that hand-written code may have; tests keep to them too.
type Budgets struct {
	FileLines, FuncLines, StructFields, InterfaceMethods int
}

// CheckBudgets finds files, functions, structs and interfaces that have grown too large.
func CheckBudgets(t *Tree, b Budgets) []Problem {
	var problems []Problem
	over := func(check, where, at string, size, most int) {
		if size > most {
			problems = append(problems, Problem{Check: check, Where: where, Size: size,
				Text: fmt.Sprintf("%s: %s has %d, the %s budget is %d", at, where, size, check, most)})
		}
	}
	t.eachFile(func(p *Package, f *File) {
		over("file lines", f.Path, f.Path, bytes.Count(f.Text, []byte("\n")), b.FileLines)
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				over("function lines", funcName(p, n), t.at(n), t.lines(n), b.FuncLines)
			case *ast.TypeSpec:
				where := qualified(p, n.Name.Name)
				switch typ := n.Type.(type) {
				case *ast.StructType:
					over("struct fields", where, t.at(n), countFields(typ.Fields), b.StructFields)
				case *ast.InterfaceType:
					over("interface methods", where, t.at(n), countFields(typ.Methods), b.InterfaceMethods)
				}
			}
			return true
		})
	})
	return problems
}

// countFields counts names; an embedded type counts as one.
func countFields(list *ast.FieldList) int {
	n := 0
	for _, f := range list.List {
		n += max(1, len(f.Names))
	}
	return n
}

// funcName is "dir.Func" or "dir.Type.Method".
func funcName(p *Package, d *ast.FuncDecl) string {
	name := d.Name.Name
	if d.Recv != nil && len(d.Recv.List) == 1 {
		name = receiver(d.Recv.List[0].Type) + "." + name
	}
	return qualified(p, name)
}

func qualified(p *Package, name string) string {
	return path.Clean(p.Dir) + "." + name
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	}
	return "?"
}
