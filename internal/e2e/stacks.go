package e2e

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Parts of what a Go process prints about its goroutines when it gets SIGQUIT. Registers and stack pointers of a frame come after its line.
var (
	goroutineHead = regexp.MustCompile(`^goroutine \d+ (?:\S+=\S+ )*\[([^],]+)`)
	frameFunction = regexp.MustCompile(`^(?:created by )?(\S+?)(?:\([^()]*\)| in goroutine \d+)$`)
	frameLine     = regexp.MustCompile(`^\t\S*?([^/\s]+:\d+)`)
)

// gatherStacks makes a dump short: goroutines that do the same at the same place are one line, the lonely ones first. At most so many bytes.
func gatherStacks(dump string, most int) string {
	type place struct {
		stack string
		many  int
	}
	var places []place
	for block := range strings.SplitSeq(dump, "\n\n") {
		stack := stackOf(block)
		if stack == "" {
			continue
		}
		if i := slices.IndexFunc(places, func(p place) bool { return p.stack == stack }); i >= 0 {
			places[i].many++
		} else {
			places = append(places, place{stack, 1})
		}
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.many, b.many) })
	var out strings.Builder
	for i, p := range places {
		line := fmt.Sprintf("%d × %s\n", p.many, p.stack)
		if out.Len()+len(line) > most {
			fmt.Fprintf(&out, "(and %d more places)\n", len(places)-i)
			break
		}
		out.WriteString(line)
	}
	return out.String()
}

// stackOf is a goroutine's state and its frames but those of the runtime, innermost first, in one line; empty: that is no goroutine's part.
func stackOf(block string) string {
	var out strings.Builder
	own := false // the frame
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		if out.Len() == 0 {
			if head := goroutineHead.FindStringSubmatch(line); head != nil {
				fmt.Fprintf(&out, "[%s]", head[1])
			}
			continue
		}
		if at := frameLine.FindStringSubmatch(line); at != nil && own {
			fmt.Fprintf(&out, " (%s)", at[1])
		} else if f := frameFunction.FindStringSubmatch(line); f != nil {
			if own = !strings.HasPrefix(f[1], "runtime."); own {
				fmt.Fprintf(&out, " < %s", f[1][strings.LastIndex(f[1], "/")+1:])
			}
		}
	}
	return out.String()
}

// lastWords is what a server printed last and, where TT_STACKS is set, what its goroutines do, if it still runs. It ends the process.
func (s *Server) lastWords() string {
	const most = 20_000
	said := s.Log(6000)
	if os.Getenv("TT_STACKS") == "" || !s.quit() {
		s.Kill()
		return said
	}
	if _, dump, ok := strings.Cut(s.Log(1<<24), "SIGQUIT: quit\n"); ok {
		said += "\nits goroutines:\n" + gatherStacks(dump, most)
	}
	return said
}
