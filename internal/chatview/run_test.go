package chatview

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gdamore/tcell/v2"
	"go.uber.org/goleak"

	"teamtalk/internal/e2e"
	"teamtalk/internal/terminal"
)

func TestMain(m *testing.M) {
	remove, err := e2e.Prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code)
	}))
}

// watched is a simulated screen that another goroutine may look at.
type watched struct {
	tcell.SimulationScreen

	mu   sync.Mutex // guards text
	text string
}

// Show keeps what is shown.
func (w *watched) Show() {
	w.SimulationScreen.Show()
	cells, width, _ := w.GetContents()
	var b strings.Builder
	for i, c := range cells {
		if i > 0 && i%width == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(c.Runes))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = b.String()
}

func (w *watched) shows(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.text, text)
}

// Run shows what happens, does what is typed, and leaves nothing behind when it ends, however that comes about.
func TestRun(t *testing.T) {
	server := e2e.Start(t, e2e.ServerConfig{Args: []string{"--users", "2", "--password", "geheim"}})
	p := terminal.Profile{Dir: filepath.Join(t.TempDir(), "profile")}
	access := terminal.Access{Account: terminal.Account{User: "user1", Servers: []string{"tls://" + server.Addr.TLS}, CA: server.Addr.CA},
		Password: "geheim", Log: slog.New(slog.DiscardHandler)}
	if _, err := p.Login(t.Context(), access); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"Ctrl-C", "context", "the client's end"} {
		t.Run(end, func(t *testing.T) {
			session, err := p.Open(t.Context(), terminal.ForChat, access)
			if err != nil {
				t.Fatal(err)
			}
			screen := &watched{SimulationScreen: tcell.NewSimulationScreen("UTF-8")}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { // ends as the test's name says
				ended <- Run(ctx, Config{Session: session, Name: "user1", Screen: screen, Drafts: p.Drafts()})
			}()
			e2e.Eventually(t, "online", func() bool { return screen.shows("● TLS") })
			for _, line := range []string{"/open user2", "你好 " + end} {
				for _, r := range line {
					screen.InjectKey(tcell.KeyRune, r, 0)
				}
				screen.InjectKey(tcell.KeyEnter, 0, 0)
			}
			e2e.Eventually(t, "the message", func() bool { return screen.shows(end + " ✓") })
			switch end {
			case "Ctrl-C":
				screen.InjectKey(tcell.KeyCtrlC, 0, tcell.ModCtrl)
			case "context":
				cancel()
			default:
				if err := session.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := <-ended; (err == nil) != (end != "the client's end") {
				t.Errorf("Run returned %v", err)
			}
			if end != "the client's end" {
				if err := session.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
