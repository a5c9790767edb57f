package node

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

const operations = "../../docs/OPERATIONS.md"

var update = flag.Bool("update", false, "rewrite the table of options in docs/OPERATIONS.md")

// TestOptionTable keeps the table of the documentation and the options the same.
func TestOptionTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| key | flag | default | meaning |\n|---|---|---|---|\n")
	for _, o := range Options() {
		def := "empty"
		if o.Default != "" {
			def = "`" + o.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | %s | %s (%s). |\n", o.Key, o.Flag, def, upperFirst(o.Help), o.Form())
	}
	b.WriteString("\nThe environment variable of `limits.rate` is `TEAMTALK_LIMITS_RATE`, and so on; an empty one counts as not set.\n\n")
	doc, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(doc), "-run TestOptionTable -update` -->\n")
	table, _, ok2 := strings.Cut(rest, "<!-- end of options -->")
	if !ok1 || !ok2 {
		t.Fatal("the marks of the table are gone")
	}
	if *update {
		text := strings.Replace(string(doc), rest, b.String()+strings.TrimPrefix(rest, table), 1)
		if err := os.WriteFile(operations, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = head
		return
	}
	if diff := cmp.Diff(b.String(), table); diff != "" {
		t.Errorf("docs/OPERATIONS.md is out of date: go test ./internal/node -run TestOptionTable -update\n%s", diff)
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// TestMetricsAreDocumented finds every metric of a running node in the documentation.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, testConfig(t, t.TempDir(), nil))
	defer stopNode(t, n)
	descs := make(chan *prometheus.Desc)
	go func() { // ends when all are described; drained below
		defer close(descs)
		n.registry.Describe(descs)
	}()
	form := regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)"`)
	ours := make(map[string]bool)
	for d := range descs {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if ours[m[1]] || strings.HasPrefix(m[1], "go_") || strings.HasPrefix(m[1], "process_") {
			continue
		}
		ours[m[1]] = true
		if !strings.Contains(string(doc), "`"+m[1]+"`") {
			t.Errorf("not documented: | `%s` | %s |", m[1], m[2])
		}
	}
	if len(ours) < 10 {
		t.Errorf("only %d metrics", len(ours))
	}
	for _, name := range regexp.MustCompile("`(teamtalk_[a-z0-9_]+)`").FindAllStringSubmatch(string(doc), -1) {
		if !ours[name[1]] {
			t.Errorf("documented, but does not exist: %s", name[1])
		}
	}
}

// TestExampleConfiguration loads the file that operators start from.
func TestExampleConfiguration(t *testing.T) {
	c, _, err := Load(Sources{File: "../../deploy/teamtalk.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.CheckPublic(), c.checkTLS()); err != nil {
		t.Error(err)
	}
}
