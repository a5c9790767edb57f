package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/protocol"
)

// foreign is a blob of another office.
func foreign(content []byte) protocol.Blob {
	b := of(content)
	b.Peer = [16]byte{9}
	return b
}

// total is what was counted, by reason.
func total(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" || l.GetName() == "what" {
					all[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return all
}

// TestForeignIsBounded: how large content of another office is, is that one's word: what is too large or has no room is not asked for at all.
func TestForeignIsBounded(t *testing.T) {
	content := random(t, 1000)
	for name, c := range map[string]struct {
		change func(*Config)
		want   protocol.Code
		reason string
	}{
		"as large as may be":    {func(c *Config) { c.MaxForeign, c.Quota, c.UserQuota = 1000, 1000, 10 }, 0, ""},
		"no limits":             {func(*Config) {}, 0, ""},
		"too large":             {func(c *Config) { c.MaxForeign = 999 }, protocol.CodeTooLarge, "too_large"},
		"over the quota of all": {func(c *Config) { c.Quota = 999 }, protocol.CodeQuota, "quota"},
		"the disk is full": {func(c *Config) { c.MinFree, c.FreeSpace = 1, func() (uint64, error) { return 1001, nil } },
			protocol.CodeUnavailable, "disk_full"},
	} {
		t.Run(name, func(t *testing.T) {
			l, o := newLedger(), &office{content: content}
			s := open(t, "n1", l, func(conf *Config) {
				conf.Abroad = o
				c.change(conf)
			})
			b := foreign(content)
			l.record(b)
			got, err := s.read(t.Context(), b.ID)
			s.Close()
			if protocol.CodeOf(err) != c.want || c.want == 0 && !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if asked := len(o.at) > 0; asked != (c.want == 0) {
				t.Errorf("it was asked for: %v", asked)
			}
			if c.want == 0 {
				return
			}
			if n := total(t, s.metrics.refused)[c.reason]; n != 1 {
				t.Errorf("counted %v times", n)
			}
			if left := s.files(t); len(left) > 0 || len(s.afar) > 0 {
				t.Errorf("left: %v, %d slots", left, len(s.afar))
			}
		})
	}
}

// TestForeignWithinTheCluster: what a node has of another office was let in there, and is not weighed again.
func TestForeignWithinTheCluster(t *testing.T) {
	l, w := newLedger(), newTown(t)
	content := random(t, 1000)
	a, b := w.add(t, "n1", l, nil), w.add(t, "n2", l, func(c *Config) { c.Abroad, c.MaxForeign, c.Quota = &office{}, 999, 1000 })
	put(t, a.disk, content)
	l.record(foreign(content), "n1")
	if got, err := b.read(t.Context(), of(content).ID); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestRoomIsGone: what waited for its turn is weighed again when it comes.
func TestRoomIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, far := newLedger(), &still{}
		s := open(t, "n1", l, func(c *Config) { c.Abroad, c.Tuning.Fetches, c.Quota = far, 1, 1000 })
		first, second := foreign(random(t, 100)), foreign(random(t, 200))
		l.record(first)
		waits := func(ctx context.Context, id protocol.BlobID) <-chan error {
			ended := make(chan error, 1)
			go func() { // ends with ctx, or what it reads
				_, err := s.read(ctx, id)
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		ctx, cancel := context.WithCancel(t.Context())
		one := waits(ctx, first.ID)
		l.record(second)
		two := waits(t.Context(), second.ID)
		s.bring(t, random(t, 801))
		cancel()
		if err := <-one; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := <-two; protocol.CodeOf(err) != protocol.CodeQuota {
			t.Errorf("after the room was taken: %v", err)
		}
		if asked, _ := far.calls(); !slices.Equal(asked, []protocol.BlobID{first.ID}) || len(s.afar) > 0 {
			t.Errorf("asked for %v", asked)
		}
	})
}

// still is an office that never answers.
type still struct {
	mu    sync.Mutex // guards what follows
	asked []protocol.BlobID
	ended []time.Time
}

// Fetch waits.
func (o *still) Fetch(ctx context.Context, _ [16]byte, id protocol.BlobID, _ uint64, w io.Writer) error {
	o.mu.Lock()
	o.asked = append(o.asked, id)
	o.mu.Unlock()
	_, _ = w.Write([]byte{1})
	<-ctx.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = append(o.ended, time.Now())
	return ctx.Err()
}

// calls are the blobs that it was asked for, and when it was left alone again.
func (o *still) calls() (asked []protocol.BlobID, ended []time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked), slices.Clone(o.ended)
}

// TestNobodyFollows: a fetch from another office ends some time after the last one who waited for it has gone, and not before; who comes then begins anew.
func TestNobodyFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, far := newLedger(), &still{}
		s := open(t, "n1", l, func(c *Config) { c.Abroad, c.Tuning.Fetches = far, 1 })
		b := foreign([]byte("never all of it"))
		l.record(b)
		follow := func(d time.Duration) {
			c, err := s.Open(t.Context(), b.ID)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		follow(time.Hour)
		time.Sleep(29 * time.Second)
		follow(time.Second / 2) // joins it
		time.Sleep(29 * time.Second)
		if asked, ended := far.calls(); len(asked) != 1 || len(ended) != 0 {
			t.Fatalf("asked %d times, ended at %v", len(asked), ended)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want := began.Add(time.Hour + 29*time.Second + time.Second/2 + 30*time.Second)
		if _, ended := far.calls(); len(ended) != 1 || !ended[0].Equal(want) || len(s.afar) != 0 || len(s.files(t)) != 0 {
			t.Fatalf("ended at %v instead of %v; %d slots, %v", ended, want, len(s.afar), s.files(t))
		}
		if n := total(t, s.metrics.failures)["abandoned"]; n != 1 {
			t.Errorf("counted %v times", n)
		}
		follow(time.Minute)
		if asked, _ := far.calls(); len(asked) != 2 {
			t.Errorf("asked %d times", len(asked))
		}
	})
}
