package archtest

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestArchitecture holds this module to its own rules.
func TestArchitecture(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	problems := CheckImports(tree, ImportTable())
	problems = append(problems, CheckDepth(tree, ImportTable())...)
	problems = append(problems, CheckBudgets(tree, CodeBudgets())...)
	problems = append(problems, CheckNames(tree)...)
	problems = append(problems, CheckHabits(tree)...)
	problems = append(problems, CheckLeaks(tree)...)
	problems = append(problems, CheckComments(tree)...)
	for _, check := range []func() ([]Problem, error){
		func() ([]Problem, error) { return CheckKeys(tree, RuleKeys()[0]) },
		func() ([]Problem, error) { return CheckKeys(tree, RuleKeys()[1]) },
		func() ([]Problem, error) { return CheckLinks(tree, tree.roots()) },
		func() ([]Problem, error) { return CheckDependencies(tree, "docs/DEPENDENCIES.md") },
	} {
		found, err := check()
		if err != nil {
			t.Error(err)
		}
		problems = append(problems, found...)
	}
	for _, wrong := range Judge(problems, Exceptions()) {
		t.Error(wrong)
	}
}

// TestChecksCanFail runs each check on a small module that breaks the rule next to one thing that does not, and compares
// what is found with the fixture's file "want".
func TestChecksCanFail(t *testing.T) {
	small := Table{
		Everyone: []string{"words"},
		Tests:    []string{"example.org/testing"},
		Depth:    2,
		Rows: []Row{
			{Dir: "words"}, {Dir: "a", Imports: []string{"b/..."}, Modules: []string{"example.org/x"}},
			{Dir: "b/c", TestImports: []string{"a"}}, {Dir: "gone"},
		},
	}
	keys := Keys{Doc: "docs/PROTOCOL.md", Prefix: "TT", Scripts: "testdata/scripts", Pages: "web/src", NotCode: []string{"e2e"}}
	cases := map[string]func(*Tree) ([]Problem, error){
		"imports":      func(m *Tree) ([]Problem, error) { return CheckImports(m, small), nil },
		"depth":        func(m *Tree) ([]Problem, error) { return CheckDepth(m, small), nil },
		"budgets":      func(m *Tree) ([]Problem, error) { return CheckBudgets(m, Budgets{10, 4, 2, 1}), nil },
		"names":        func(m *Tree) ([]Problem, error) { return CheckNames(m), nil },
		"habits":       func(m *Tree) ([]Problem, error) { return CheckHabits(m), nil },
		"comments":     func(m *Tree) ([]Problem, error) { return CheckComments(m), nil },
		"leaks":        func(m *Tree) ([]Problem, error) { return CheckLeaks(m), nil },
		"keys":         func(m *Tree) ([]Problem, error) { return CheckKeys(m, keys) },
		"links":        func(m *Tree) ([]Problem, error) { return CheckLinks(m, m.roots()) },
		"dependencies": func(m *Tree) ([]Problem, error) { return CheckDependencies(m, "docs/DEPENDENCIES.md") },
	}
	for name, check := range cases {
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile("testdata/" + name + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			fsys, err := txtar.FS(archive)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := Load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := check(tree)
			if err != nil {
				t.Fatal(err)
			}
			var got, want string
			for _, p := range problems {
				got += p.Text + "\n"
			}
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
				}
			}
			if got != want || want == "" {
				t.Errorf("found:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	problems := []Problem{
		{Check: "file lines", Where: "a.go", Size: 700, Text: "a.go is long"},
		{Check: "panic", Where: "b.F", Text: "b.F panics"},
		{Check: "panic", Where: "b.G", Text: "b.G panics"},
	}
	got := Judge(problems, []Exception{
		{Check: "file lines", Where: "a.go", Max: 650, Why: "grew beyond what was allowed"},
		{Check: "panic", Where: "b.F", Why: "a mistake of the programmer"},
		{Check: "panic", Where: "b.G"},
		{Check: "sleep", Where: "c.H", Why: "long gone"},
	})
	want := []string{
		"a.go is long",
		"b.G panics",
		"exception (panic, b.G) gives no reason",
		"exception (sleep, c.H) is not needed any more: remove it",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoadRefusesBrokenFiles(t *testing.T) {
	fsys, err := txtar.FS(txtar.Parse([]byte("-- go.mod --\nmodule m\n-- a/a.go --\npackage a\nfunc {\n")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(fsys); err == nil || !strings.Contains(err.Error(), "a/a.go:2") {
		t.Errorf("got %v, want an error that names a/a.go:2", err)
	}
}
