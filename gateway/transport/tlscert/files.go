package tlscert

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FilesConfig names the files of a certificate.
type FilesConfig struct {
	Certificate string        // PEM: the server's certificate first, then those between it and a root
	Key         string        // PEM
	Every       time.Duration // between two looks at the files; 0: 10 s

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: no metrics
}

// Files is a certificate in files that somebody else renews.
type Files struct {
	cfg      FilesConfig
	log      *slog.Logger
	failures prometheus.Counter

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	seen    [2]stamp // the files as they were at the last attempt, good or bad
	lookAt  time.Time
}

// stamp tells one version of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

const lookEvery = 10 * time.Second

// NewFiles loads a certificate; later it is loaded anew when the files have changed. If that fails, the former one stays in use and the log
// says why.
func NewFiles(cfg FilesConfig) (*Files, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Every <= 0 {
		cfg.Every = lookEvery
	}
	f := &Files{cfg: cfg, log: cfg.Log}
	f.seen, _ = f.stamps() // what is wrong with the files, loading says better
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	f.current, f.lookAt = c, time.Now().Add(cfg.Every)
	f.failures = newErrors(cfg.Registerer, f.notAfter)
	return f, nil
}

func (f *Files) load() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.cfg.Certificate, f.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	if err := leaf(&c); err != nil {
		return nil, err
	}
	return &c, nil
}

func (f *Files) stamps() (both [2]stamp, err error) {
	for i, path := range []string{f.cfg.Certificate, f.cfg.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return both, fmt.Errorf("tlscert: %w", err)
		}
		both[i] = stamp{info.ModTime(), info.Size()}
	}
	return both, nil
}

// Certificate is the one in the files, as they were at most the configured time ago.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); !now.Before(f.lookAt) {
		f.lookAt = now.Add(f.cfg.Every)
		f.refresh()
	}
	return f.current, nil
}

// refresh loads files that have changed since the last attempt. mu is held, so handshakes wait for the two small files.
func (f *Files) refresh() {
	at, err := f.stamps()
	if err == nil && at == f.seen {
		return
	}
	var c *tls.Certificate
	if err == nil {
		f.seen = at
		c, err = f.load()
	}
	if err != nil {
		f.failures.Inc()
		f.log.Error("the changed certificate cannot be used, the former one stays in use", "error", err, "valid_until", f.current.Leaf.NotAfter)
		return
	}
	f.current = c
	f.log.Info("certificate loaded anew", "valid_until", c.Leaf.NotAfter)
}

func (f *Files) notAfter() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return float64(f.current.Leaf.NotAfter.Unix())
}
