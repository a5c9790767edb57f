package obs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"
)

func TestLoggerFormats(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=hello user=7", "json": `"msg":"hello","user":7`} {
		var b bytes.Buffer
		log, err := NewLogger(&b, slog.LevelInfo, format)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("not this")
		log.Info("hello", "user", 7)
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "not this") {
			t.Errorf("%s: got %q", format, b.String())
		}
	}
	if _, err := NewLogger(io.Discard, slog.LevelInfo, "xml"); err == nil {
		t.Error("format xml was accepted")
	}
}

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-11-22T10:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got, want := versionOf(info).String(), "teamtalk dev (abc+changes, 2026-11-22T10:00:00Z) go1.26"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	info = &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}}
	if got, want := versionOf(info).String(), "teamtalk v1.2.3 go1.26"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHealthNamesWhatIsMissing(t *testing.T) {
	var h Health
	store := errors.New("no leader yet")
	h.Require("store", func() error { return store })
	h.Require("listeners", func() error { return nil })

	live := httptest.NewRecorder()
	h.ServeLive(live, nil)
	if live.Code != 200 {
		t.Errorf("alive: %d", live.Code)
	}
	ready := httptest.NewRecorder()
	h.ServeReady(ready, nil)
	var got struct{ Missing map[string]string }
	if err := json.Unmarshal(ready.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if ready.Code != 503 || len(got.Missing) != 1 || got.Missing["store"] != "no leader yet" {
		t.Errorf("not ready: %d %s", ready.Code, ready.Body)
	}

	store = nil
	ready = httptest.NewRecorder()
	h.ServeReady(ready, nil)
	if ready.Code != 200 {
		t.Errorf("ready: %d %s", ready.Code, ready.Body)
	}
}

func TestRegistryHasTheVersion(t *testing.T) {
	w := httptest.NewRecorder()
	MetricsHandler(NewRegistry(Version{Version: "v9", Go: "go1.26"})).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`teamtalk_build_info{go="go1.26",revision="",version="v9"} 1`, "go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}
