package obs

import (
	"encoding/json"
	"net/http"
	"sync"
)

// Check is one thing a node needs before it can serve; Ready is nil-safe to call from any goroutine and must not block.
type Check struct {
	Name  string
	Ready func() error
}

// Health answers whether the process lives and whether the node can serve.
type Health struct {
	mu     sync.Mutex // guards checks
	checks []Check
}

// Require adds a check; until it passes the node is not ready.
func (h *Health) Require(name string, ready func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, Check{name, ready})
}

// Missing says by name what is not ready; empty when the node can serve.
func (h *Health) Missing() map[string]string {
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()
	missing := make(map[string]string)
	for _, c := range checks {
		if err := c.Ready(); err != nil {
			missing[c.Name] = err.Error()
		}
	}
	return missing
}

// ServeLive answers 200 as long as the process can answer at all.
func (h *Health) ServeLive(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{"status": "alive"})
}

// ServeReady answers 200, or 503 with what is missing.
func (h *Health) ServeReady(w http.ResponseWriter, _ *http.Request) {
	if missing := h.Missing(); len(missing) > 0 {
		reply(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "missing": missing})
		return
	}
	reply(w, http.StatusOK, map[string]any{"status": "ready"})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The only error left is a client that went away.
	_ = json.NewEncoder(w).Encode(body)
}
