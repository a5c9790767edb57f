package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine says where figures come from; without it they mean nothing.
type Machine struct {
	Cores   int    `json:"cores"`
	CPU     string `json:"cpu"`
	Memory  int64  `json:"memory_bytes"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Time    string `json:"time"`
	DiskDir string `json:"disk_dir"`
	// Fdatasync is the time of one after an append of 4 KiB in DiskDir.
	Fdatasync Summary `json:"fdatasync"`
}

const (
	syncs    = 500
	syncTime = 3 * time.Second
)

// Inspect looks at this machine and measures the disk under dir.
func Inspect(ctx context.Context, dir string) (*Machine, error) {
	m := &Machine{
		Cores: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		CPU: procField("/proc/cpuinfo", "model name"), Time: time.Now().UTC().Format(time.RFC3339), DiskDir: dir,
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = string(name.Release[:max(0, bytes.IndexByte(name.Release[:], 0))])
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	var err error
	m.Fdatasync, err = syncTimes(ctx, dir)
	return m, err
}

// procField is the first value of a "name : value" file in /proc; empty if there is none.
func procField(file, field string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func syncTimes(ctx context.Context, dir string) (_ Summary, err error) {
	path := filepath.Join(dir, "ttload-fdatasync")
	f, err := os.Create(path)
	if err != nil {
		return Summary{}, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	times, clock, page := newLatency(), newClock(), make([]byte, 4<<10)
	for i := 0; i < syncs && clock.now() < syncTime; i++ {
		if err := ctx.Err(); err != nil {
			return Summary{}, err
		}
		start := clock.now()
		if _, err := f.Write(page); err != nil {
			return Summary{}, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return Summary{}, fmt.Errorf("fdatasync: %w", err)
		}
		times.record(0, clock.now()-start)
	}
	return times.summary(), nil
}

// Print writes the facts, one to a line.
func (m *Machine) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "machine    %d × %s, %.1f GiB, Linux %s, %s, %s\nfdatasync  4 KiB append in %s: p50 %s ms, p99 %s ms\n",
		m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Time, m.DiskDir, ms(m.Fdatasync.P50), ms(m.Fdatasync.P99))
	return err
}
