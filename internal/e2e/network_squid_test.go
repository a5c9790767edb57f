//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// squidPath is where Debian has it. It is not on everybody's PATH.
const squidPath = "/usr/sbin/squid"

// What a proxy allows.
const (
	onlyCONNECT = `acl tunnel method CONNECT
acl secure port 443
http_access allow tunnel secure
http_access deny all
`
	onlyCONNECTForKnown = `auth_param basic program /usr/lib/squid/basic_fake_auth
auth_param basic realm office
acl known proxy_auth REQUIRED
acl tunnel method CONNECT
acl secure port 443
http_access deny !known
http_access allow tunnel secure
http_access deny all
`
	onlyPlain = `acl plain method GET POST
acl web port 80
http_access allow plain web
http_access deny all
`
)

// A squid is the proxy that stands in many offices, as Debian has it.
type squid struct{ dir string }

// startSquid runs one with these rules on the server's host, port 3128. It ends with the test.
func (h hosts) startSquid(t *testing.T, rules string) *squid {
	t.Helper()
	if _, err := os.Stat(squidPath); err != nil {
		t.Fatalf("this test needs the real proxy: %v (Debian: apt-get install squid)", err)
	}
	s := &squid{dir: squidDir(t)}
	conf := filepath.Join(s.dir, "squid.conf")
	lines := []string{"http_port " + serverProxy, strings.TrimSpace(rules), "cache deny all", "pid_filename none", "shutdown_lifetime 0 seconds",
		"pinger_enable off", "netdb_filename none", "coredump_dir none", "visible_hostname proxy.test", "max_filedescriptors 1024",
		"dns_nameservers 127.0.0.1", "access_log stdio:" + s.accessLog(), "cache_log " + filepath.Join(s.dir, "cache.log"), ""}
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("tt%dx%d", os.Getpid(), rand.Uint32()) // of its shared memory, which one that was killed leaves behind
	line := append(h.server.Wrap(), squidPath, "-N", "-n", name, "-f", conf)
	cmd := exec.Command(line[0], line[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { // ends with the process; the cleanup waits for it
		_ = cmd.Wait() // it is killed
		close(exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only if it is gone
		<-exited
		if left, err := filepath.Glob("/dev/shm/" + name + "-*"); err == nil {
			for _, f := range left {
				_ = os.Remove(f)
			}
		}
		if t.Failed() {
			t.Logf("squid said: %s\n%s\n%s", said.String(), s.read("cache.log"), s.read("access.log"))
		}
	})
	h.awaitProxy(t, exited)
	return s
}

// squidDir is a folder for squid's user, who may not look into those of tests.
func squidDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "squid") //nolint:usetesting // which makes folders that only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what stays is in the folder for what may go
	account, err := user.Lookup("proxy")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (h hosts) awaitProxy(t *testing.T, exited <-chan struct{}) {
	t.Helper()
	Eventually(t, "squid answers", func() bool {
		select {
		case <-exited:
			t.Fatal("squid ended before it answered")
		default:
		}
		ctx, cancel := limited(t, time.Second)
		defer cancel()
		c, err := h.server.DialContext(ctx, "tcp", serverProxy)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func (s *squid) accessLog() string { return filepath.Join(s.dir, "access.log") }

func (s *squid) read(name string) string {
	raw, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// asked lists what the proxy was asked for so far: "NONE_NONE/407 CONNECT 10.99.0.2:443 user". Tunnels are there when they have ended.
func (s *squid) asked() []string {
	var all []string
	for line := range strings.Lines(s.read("access.log")) {
		// time, duration, client, result, bytes, method, address, user, …
		if f := strings.Fields(line); len(f) > 7 {
			all = append(all, strings.Join([]string{f[3], f[5], f[6], f[7]}, " "))
		}
	}
	return all
}
