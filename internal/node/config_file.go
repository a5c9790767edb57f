package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxConfigFile = 1 << 20

// readFile sets what a YAML file says.
func (c *Config) readFile(path string) []error {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []error{fmt.Errorf("configuration file %s does not exist: write one (docs/OPERATIONS.md has an example) or name another with --config", path)}
	case err != nil:
		return []error{fmt.Errorf("configuration file: %w", err)}
	case len(data) > maxConfigFile:
		return []error{fmt.Errorf("configuration file %s has %d bytes: that is no configuration", path, len(data))}
	}
	return c.readYAML(path, data)
}

// readYAML walks the nodes itself instead of decoding into structs, so that each problem is told with its line and a
// misspelt key with the one that was probably meant.
func (c *Config) readYAML(path string, data []byte) []error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return []error{fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(doc.Content) == 0 {
		return nil // empty, or comments only
	}
	r := fileReader{config: c, path: path}
	r.mapping("", doc.Content[0])
	return r.problems
}

type fileReader struct {
	config   *Config
	path     string
	problems []error
}

func (r *fileReader) problem(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %s", r.path, n.Line, fmt.Sprintf(format, args...)))
}

func (r *fileReader) mapping(prefix string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		what := "the file"
		if prefix != "" {
			what = strings.TrimSuffix(prefix, ".")
		}
		r.problem(n, "%s must hold keys and values (key: value)%s", what, inside(prefix))
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if line, twice := seen[key]; twice {
			r.problem(k, "%s is there twice, first on line %d: remove one", key, line)
			continue
		}
		seen[key] = k.Line
		r.entry(key, k, v)
	}
}

func (r *fileReader) entry(key string, k, v *yaml.Node) {
	if _, ok := option(key); ok {
		r.scalar(key, v)
		return
	}
	if hasSection(key) {
		r.mapping(key+".", v)
		return
	}
	r.problem(k, "unknown key %q%s", key, suggest(key, append(optionKeys(), sections()...)))
}

func (r *fileReader) scalar(key string, v *yaml.Node) {
	switch {
	case v.Kind != yaml.ScalarNode:
		r.problem(v, "%s needs one plain value", key)
	case v.Tag == "!!null":
		r.problem(v, `%s has no value: give one, "" for an empty one, or remove the line`, key)
	default:
		if err := r.config.Set(key, v.Value, Origin(fmt.Sprintf("%s:%d", r.path, v.Line))); err != nil {
			r.problems = append(r.problems, err)
		}
	}
}

func inside(prefix string) string {
	if prefix == "" {
		return ""
	}
	var keys []string
	for _, key := range optionKeys() {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			keys = append(keys, rest)
		}
	}
	return ": " + strings.Join(keys, ", ")
}

// sections are what keys are nested in, "tls" and "tls.acme" for tls.acme.domain.
func sections() []string {
	var all []string
	for _, key := range optionKeys() {
		for i, c := range key {
			if c == '.' && !slices.Contains(all, key[:i]) {
				all = append(all, key[:i])
			}
		}
	}
	return all
}

func hasSection(name string) bool {
	return slices.Contains(sections(), name)
}

// suggest is ", did you mean …?" with the known word nearest to a misspelt one; empty when nothing is near.
func suggest(word string, known []string) string {
	best, bestDistance := "", len(word)/2 // further away it is another word, not a misspelt one
	for _, k := range known {
		d := editDistance(strings.ToLower(word), strings.ToLower(k))
		// A key written without its section, or in another one, is near too.
		if i := strings.LastIndexByte(k, '.'); i >= 0 {
			short := strings.ToLower(word[strings.LastIndexByte(word, '.')+1:])
			d = min(d, editDistance(short, strings.ToLower(k[i+1:]))+1)
		}
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ": `teamtalkd config` lists the known ones"
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// editDistance counts the insertions, deletions and replacements of bytes that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
