package scalemodel

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReport: every table has as many cells in each row as columns, and the figures are in it.
func TestReport(t *testing.T) {
	w := Default()
	w.Clusters, w.Outage, w.Bundle = 20, Outage{Sites: 2, For: 3 * time.Minute}, 50
	var out bytes.Buffer
	if err := run(t, w).Print(&out); err != nil {
		t.Fatal(err)
	}
	tables, columns := 0, 0
	for line := range strings.Lines(out.String()) {
		cells := strings.Count(line, "|")
		switch {
		case cells == 0:
			columns = 0
		case columns == 0:
			columns = cells
			tables++
		case cells != columns:
			t.Errorf("%d cells, not %d: %s", cells-1, columns-1, line)
		}
	}
	if tables != 5 {
		t.Errorf("%d tables in %s", tables, out.String())
	}
	for _, want := range []string{"| users online | 2,000,000 |", "20, 19, 190", "1,000/s", "2 of 20 clusters away for 3 min"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}

// TestDocument: the tables of docs/SCALING.md are those of the model. What has to be run for an hour of its time is only compared under TT_SOAK.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/SCALING.md")
	if err != nil {
		t.Fatal(err)
	}
	w := Reference()
	var b strings.Builder
	w.printRates(&b)
	w.printOutage(&b)
	w.printVariants(&b)
	if os.Getenv("TT_SOAK") != "" {
		run(t, w).printRun(&b)
	}
	for _, table := range strings.Split(strings.TrimSpace(b.String()), "\n\n") {
		if !strings.Contains(string(document), table) {
			t.Errorf("docs/SCALING.md does not have this table:\n%s", table)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{number(1234567), "1,234,567"}, {number(999), "999"}, {number(1.65), "1.6"}, {number(3), "3"}, {number(1000), "1,000"},
		{span(3500 * time.Microsecond), "4 ms"}, {span(74300 * time.Millisecond), "74.3 s"}, {span(time.Hour), "60 min"}, {span(30 * time.Hour), "30.0 h"},
		{span(90 * 24 * time.Hour), "90 days"}, {span(never), "never"}, {size(4.6e9), "4.6 GB"}, {size(2.4e6), "2.4 MB"}, {bandwidth(1e9), "1 Gbit/s"}, {bandwidth(2.5e8), "250 Mbit/s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
}
