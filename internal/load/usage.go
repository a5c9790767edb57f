package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is in which unit /proc tells processor time, on all machines of today.
const ticksPerSecond = 100

// cpuTime is how much processor time a process has had.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseCPUTime(text)
}

// parseCPUTime reads utime and stime, the 14th and the 15th field; the second may hold spaces.
func parseCPUTime(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("process times in %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// usage looks at how much of a core processes need.
type usage struct {
	pids  []int
	since time.Time
	had   []time.Duration
}

func watchUsage(pids ...int) (*usage, error) {
	u := &usage{pids: pids, since: time.Now()}
	for _, pid := range pids {
		had, err := cpuTime(pid)
		if err != nil {
			return nil, err
		}
		u.had = append(u.had, had)
	}
	return u, nil
}

// percent is how much of a core each process has had since it is watched, in percent.
func (u *usage) percent() ([]float64, error) {
	passed := time.Since(u.since)
	var all []float64
	for i, pid := range u.pids {
		has, err := cpuTime(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, 100*float64(has-u.had[i])/float64(passed))
	}
	return all, nil
}

// peakResident reads VmHWM of /proc: the most memory that a process ever had, in bytes.
func peakResident(pid int) (int64, error) { return statusField(pid, "VmHWM") }

// counters are the values of a server's metrics, by name and labels as they are written.
type counters map[string]float64

func (m *member) counters(ctx context.Context) (counters, error) {
	var text bytes.Buffer
	if err := m.ask(ctx, http.MethodGet, "/metrics", &text); err != nil {
		return nil, err
	}
	return parseCounters(&text)
}

func parseCounters(text *bytes.Buffer) (counters, error) {
	c := counters{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		c[line[:at]] = value
	}
	return c, nil
}

// sum adds up the counters of a name whose labels hold all of some.
func (c counters) sum(name string, labels ...string) (sum float64) {
	for key, value := range c {
		if !strings.HasPrefix(key, name+"{") {
			continue
		}
		fits := true
		for _, l := range labels {
			fits = fits && strings.Contains(key, l)
		}
		if fits {
			sum += value
		}
	}
	return sum
}

// dirSize is how many bytes the files below a directory have.
func dirSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
