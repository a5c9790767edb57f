package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/protocol/pdu"
)

// IdleOptions shape a run of idle connections.
type IdleOptions struct {
	// Connections, each of its own user, are held for Hold.
	Connections int
	Hold        time.Duration
	// PID is the server's process, whose memory is read; 0 reads none.
	PID int
	// Collect lets the server collect its garbage, after which its memory is read once more; nil: that is left out.
	Collect func(ctx context.Context) error
}

const (
	heartbeatEvery = time.Minute
	// warmLogins are made and ended before the first look at memory, so that what only the first ones cost is not counted.
	warmLogins = 200
	// Memory has settled when it moved less than a hundredth in settleFor.
	settleFor   = 2 * time.Second
	settleLimit = 20 * time.Second
	// secondGone is after when the client library has given up the connection by which a poller logged in.
	secondGone = 7 * time.Second
)

// Idle logs in connections that do nothing but heartbeats and tells what they cost the server.
func Idle(ctx context.Context, t Target, o IdleOptions) (*IdleResult, error) {
	warm, err := connect(ctx, t, min(warmLogins, o.Connections))
	if err != nil {
		return nil, err
	}
	if err := closeAll(warm); err != nil {
		return nil, err
	}
	if o.Collect != nil { // what starting left behind would be taken for room that sessions do not need
		if err := o.Collect(ctx); err != nil {
			return nil, err
		}
	}
	out := &IdleResult{Connections: o.Connections}
	if out.Before, err = settledMemory(ctx, o.PID); err != nil {
		return nil, err
	}
	conns, err := connect(ctx, t, o.Connections)
	if err != nil {
		return nil, err
	}
	holding, stop := context.WithCancel(ctx)
	defer stop()
	var (
		held    sync.WaitGroup
		dropped atomic.Int64
	)
	for _, c := range conns {
		held.Go(func() { // until stop
			release := c.bind(holding)
			defer release()
			if err := c.idle(holding); err != nil {
				dropped.Add(1)
			}
		})
	}
	if t.Via == ViaLongPoll {
		err = wait(ctx, secondGone)
	}
	if err == nil {
		err = out.look(ctx, o)
	}
	if err == nil {
		err = wait(ctx, o.Hold)
	}
	stop()
	held.Wait()
	out.Dropped = int(dropped.Load())
	return out, errors.Join(err, closeAll(conns))
}

// look reads the server's memory while the connections are there.
func (r *IdleResult) look(ctx context.Context, o IdleOptions) error {
	var err error
	if r.After, err = settledMemory(ctx, o.PID); err != nil {
		return err
	}
	each := func(rss int64) float64 { return float64(rss-r.Before) / float64(max(1, o.Connections)) }
	r.PerConnection = each(r.After)
	if o.Collect == nil {
		return nil
	}
	if err := o.Collect(ctx); err != nil {
		return err
	}
	if r.Collected, err = settledMemory(ctx, o.PID); err != nil {
		return err
	}
	r.PerCollected = each(r.Collected)
	return nil
}

// idle drops what comes and sends heartbeats, however much comes, until ctx ends; an error before that is returned.
func (c *Conn) idle(ctx context.Context) error {
	for beat := time.Now().Add(heartbeatEvery); ; {
		c.setDeadline(beat)
		var err error
		if ctx.Err() == nil { // looked at after the deadline was set, which may have undone what bind did
			_, _, err = c.next()
		}
		switch stopped := ctx.Err() != nil; {
		case stopped:
			return nil //nolint:nilerr // bind broke the reading off
		case time.Until(beat) <= 0 && (err == nil || isTimeout(err)):
			beat = time.Now().Add(heartbeatEvery)
			c.setDeadline(beat)
			err = c.send(pdu.CmdHeartbeat, nil)
		}
		if err != nil {
			return err
		}
	}
}

// settledMemory is the resident memory of a process in bytes once it has stopped moving; 0 for process 0.
func settledMemory(ctx context.Context, pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	last, err := residentMemory(pid)
	for limit := time.Now().Add(settleLimit); err == nil && time.Now().Before(limit); {
		if err = wait(ctx, settleFor); err != nil {
			break
		}
		now, failed := residentMemory(pid)
		if failed != nil {
			return 0, failed
		}
		if moved := now - last; moved*100 < last && -moved*100 < last {
			return now, nil
		}
		last = now
	}
	return last, err
}

// residentMemory reads VmRSS of /proc.
func residentMemory(pid int) (int64, error) { return statusField(pid, "VmRSS") }

// statusField reads an amount of memory, in bytes, of /proc.
func statusField(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no %s", pid, field)
}

// wait returns after d, or with ctx's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
