package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built compiles cmd/teamtalkd once per test process, with the race detector if the tests have it.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TEAMTALKD"); path != "" {
		return filepath.Abs(path)
	}
	dir := os.Getenv(buildDirVariable)
	if dir == "" {
		return "", errors.New("TestMain has to call e2e.Prepare")
	}
	path := filepath.Join(dir, "teamtalkd")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "teamtalk/cmd/teamtalkd")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build teamtalkd: %w\n%s", err, out)
	}
	return path, nil
})

// Binary is the path of the server's executable: built for these tests, or the one named by the environment variable TEAMTALKD.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// buildDirVariable names the folder for the executable; Prepare sets it.
const buildDirVariable = "TT_E2E_BUILD"

// Prepare makes a folder for what Binary builds; the function it returns removes it. A package whose tests start servers calls both in
// its TestMain.
func Prepare() (remove func(), err error) {
	dir, err := os.MkdirTemp("", "teamtalkd-")
	if err != nil {
		return nil, err
	}
	if err := os.Setenv(buildDirVariable, dir); err != nil {
		return nil, err
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
	}, nil
}
