package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// atOnce is how many of the tests that say they may run beside others do: most of their time clusters wait for elections, disks and networks, so it is
// more than there are cores.
const atOnce = "3"

// front are the tests that run without the race detector only, and some that are quick: with -short the others are left out, which take minutes.
const front = "^(TestBrowser|TestFilesOfNewClients|TestUploadKilled|TestHTTP3|TestScriptsThat|TestRulesExist)"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil { // the command line is read later, and wins
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if flag.Parse(); testing.Short() && flag.Lookup("test.run").Value.String() == "" {
		if err := flag.Set("test.run", front); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	remove, err := Prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code)
	}))
}
