package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"teamtalk/raftstore/state"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "teamtalk.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValidAndShownAsWritten(t *testing.T) {
	c := Default()
	for _, o := range Options() {
		if got := c.Show(o.Key); got != o.Default {
			t.Errorf("%s: default %q is shown as %q", o.Key, o.Default, got)
		}
		if c.Origin(o.Key) != originDefault {
			t.Errorf("%s: origin %q", o.Key, c.Origin(o.Key))
		}
		if o.Help == "" || o.Form() == "" {
			t.Errorf("%s is not explained", o.Key)
		}
	}
}

func TestKeysFlagsAndVariablesAreUnique(t *testing.T) {
	seen := make(map[string]string)
	for _, o := range Options() {
		for _, name := range []string{"key " + o.Key, "flag " + o.Flag, "variable " + o.Env()} {
			if other, twice := seen[name]; twice {
				t.Errorf("%s of %s is also that of %s", name, o.Key, other)
			}
			seen[name] = o.Key
		}
	}
}

func TestFlagBeforeEnvironmentBeforeFileBeforeDefault(t *testing.T) {
	file := writeConfig(t, "limits:\n  rate: 1\n  burst: 1\n  idle_pc: 1m\n")
	c, warnings, err := Load(Sources{
		File:     file,
		Environ:  []string{"TEAMTALK_LIMITS_RATE=2", "TEAMTALK_LIMITS_BURST=2", "HOME=/root"},
		Flags:    map[string]string{"limits.rate": "3"},
		Defaults: map[string]string{"limits.idle_mobile": "9m"},
	})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	type result struct {
		Rate        float64
		Burst       int
		PC, Mobile  time.Duration
		From, From2 Origin
	}
	got := result{c.Limits.Rate, c.Limits.Burst, c.Limits.IdlePC, c.Limits.IdleMobile, c.Origin("limits.rate"), c.Origin("limits.idle_pc")}
	want := result{3, 2, time.Minute, 9 * time.Minute, "--rate", Origin(file + ":4")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.Limits.LoginDeadline != 15*time.Second {
		t.Errorf("default of the login deadline: %s", c.Limits.LoginDeadline)
	}
}

func TestFileProblemsSayWhereAndWhatToDo(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"misspelt key", "listen:\n  tpc: :8000\n", `:2: unknown key "listen.tpc", did you mean "listen.tcp"?`},
		{"misspelt section", "limit:\n  rate: 1\n", `:1: unknown key "limit", did you mean "limits"?`},
		{"key without its section", "log:\n  level: info\nrate: 1\n", `:3: unknown key "rate", did you mean "limits.rate"?`},
		{"nothing near", "abracadabra: 1\n", "`teamtalkd config` lists the known ones"},
		{"twice", "data: a\ndata: b\n", ":2: data is there twice, first on line 1"},
		{"no value", "data:\n", `:1: data has no value`},
		{"section without keys", "limits: 5\n", ":1: limits must hold keys and values (key: value): rate, burst"},
		{"list", "data: [a, b]\n", ":1: data needs one plain value"},
		{"number", "limits:\n\n  rate: fast\n", `:3: limits.rate: "fast" is not a number from 0 to 1000000`},
		{"not a number at all", "limits:\n  rate: .nan\n", `:2: limits.rate: ".nan" is not a number`},
		{"range", "limits:\n  burst: 0\n", `:2: limits.burst: "0" is not a whole number from 1`},
		{"port", "listen:\n  http: localhost:80800\n", `"80800" is not a port: use a number up to 65535`},
		{"no port", "listen:\n  http: localhost\n", "write host:port, :port for every address of this machine, or off"},
		{"duration", "limits:\n  idle_pc: 30\n", "write a number and a unit, such as 500ms, 30s or 2m"},
		{"size", "store:\n  min_free: 64MB\n", "write a number and KiB, MiB, GiB or TiB"},
		{"public host with port", "public:\n  host: chat.example.com:8000\n", "give a name or an address without a port"},
		{"public host wildcard", "public:\n  host: 0.0.0.0\n", "no address to connect to"},
		{"URL", "public:\n  msfs: ftp://x/\n", "write http://host/path or https://host/path"},
		{"level", "log:\n  level: loud\n", `"loud" is not one of: debug, info, warn, error`},
		{"format", "log:\n  format: xml\n", `"xml" is not one of: text, json`},
		{"truth", "tls:\n  development: yes\n", `:2: tls.development: "yes" is not one of: true, false`},
		{"section in a section", "tls:\n  acme:\n    domain: a..b\n", `:3: tls.acme.domain: "a..b" is not a host`},
		{"misspelt in a section in a section", "tls:\n  acme:\n    domian: a.b\n", `:3: unknown key "tls.acme.domian", did you mean "tls.acme.domain"?`},
		{"origin with a path", "public:\n  origins: https://a.example/x\n", `"https://a.example/x" is not an origin: write https://host`},
		{"proxies", "trusted_proxies: 10.0.0.0/33\n", `"10.0.0.0/33" is neither an address nor a network`},
		{"not YAML", "a: b: c\n", "mapping values are not allowed"},
		{"id", "node:\n  id: a b\n", "is not a word"},
		{"level of a later version", fmt.Sprintf("cluster:\n  highest_level: %d\n", state.Level+1), fmt.Sprintf("the highest that it knows is %d;", state.Level)},
		{"no level at all", "cluster:\n  highest_level: 65536\n", `:2: cluster.highest_level: "65536" is not a whole number from 0 to 65535`},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := writeConfig(t, test.text)
			_, _, err := Load(Sources{File: file})
			if err == nil {
				t.Fatal("was accepted")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), file+":") {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	_, _, err := Load(Sources{
		File:    writeConfig(t, "listen:\n  tpc: x\nlog:\n  level: loud\n"),
		Environ: []string{"TEAMTALK_LIMITS_BURST=-1"},
		Flags:   map[string]string{"limits.rate": "x"},
	})
	if err == nil {
		t.Fatal("was accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[2], "TEAMTALK_LIMITS_BURST: ") || !strings.HasPrefix(lines[3], "--rate: ") {
		t.Errorf("got %q", lines)
	}
}

func TestMissingFile(t *testing.T) {
	_, _, err := Load(Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if err == nil || !strings.Contains(err.Error(), "does not exist: write one") {
		t.Errorf("got %v", err)
	}
}

func TestEmptyFileIsFine(t *testing.T) {
	if _, _, err := Load(Sources{File: writeConfig(t, "# nothing yet\n")}); err != nil {
		t.Error(err)
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	_, warnings, err := Load(Sources{Environ: []string{"TEAMTALK_LISTEN_TPC=:1", "TEAMTALK_CONFIG=/etc/x"}})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], `did you mean "TEAMTALK_LISTEN_TCP"?`) {
		t.Errorf("got %v, %q", err, warnings)
	}
}

func TestWildcardNeedsAPublicHost(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags map[string]string
		want  string // empty: fine
	}{
		{"defaults", nil, "listen.tcp is :8000, which is every address of this machine, and public.host is not set: set public.host"},
		{"with a host", map[string]string{"public.host": "chat.example.com"}, ""},
		{"loopback", map[string]string{"listen.tcp": "127.0.0.1:8000", "listen.http": "localhost:8080"}, ""},
		{"HTTP everywhere", map[string]string{"listen.tcp": "127.0.0.1:8000"}, "listen.http is :8080"},
		{"IPv6 everywhere", map[string]string{"listen.tcp": "[::]:8000", "listen.http": "off"}, "listen.tcp is [::]:8000"},
		{"ops does not count", map[string]string{"listen.tcp": "192.0.2.1:8000", "listen.http": "off", "listen.ops": ":8090"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _, err := Load(Sources{Flags: test.flags})
			if err != nil {
				t.Fatal(err)
			}
			err = c.CheckPublic()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTLSNeedsACertificate(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags map[string]string
		want  string // empty: fine
	}{
		{"defaults", nil, "listen.tls is on and there is no certificate: set tls.cert and tls.key"},
		{"QUIC only", map[string]string{"listen.tls": "off"}, "listen.quic is on and there is no certificate"},
		{"both off", map[string]string{"listen.tls": "off", "listen.quic": "off"}, ""},
		{"files", map[string]string{"tls.cert": "c.pem", "tls.key": "k.pem"}, ""},
		{"half of the files", map[string]string{"tls.cert": "c.pem"}, "tls.cert and tls.key belong together"},
		{"ACME", map[string]string{"tls.acme.domain": "chat.example.com"}, ""},
		{"ACME without a TLS port", map[string]string{"tls.acme.domain": "chat.example.com", "listen.tls": "off"}, "tls.acme.domain needs listen.tls"},
		{"files and ACME", map[string]string{"tls.acme.domain": "chat.example.com", "tls.cert": "c.pem", "tls.key": "k.pem"}, "keep one"},
		{"development", map[string]string{"tls.development": "true"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _, err := Load(Sources{Flags: test.flags})
			if err != nil {
				t.Fatal(err)
			}
			err = c.checkTLS()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestValuesComeBackAsWritten(t *testing.T) {
	for key, texts := range map[string][]string{
		"listen.tcp":                {"off", ":1", "127.0.0.1:0", "[::1]:8000", "chat.example.com:65535"},
		"limits.rate":               {"0", "0.5", "1000000"},
		"public.node":               {"", "n1.example.com:7000", "[2001:db8::1]:7000"},
		"cluster.remove_dead_after": {"off", "24h", "30m"},
		"cluster.highest_level":     {"0", "1", fmt.Sprint(state.Level)},
		"limits.idle_pc":            {"1m30s", "2m", "24h", "500ms"},
		"store.min_free":            {"1MiB", "1048577", "3GiB", "1TiB"},
		"public.host":               {"", "192.0.2.1", "2001:db8::1", "a.b-c.example"},
		"public.tcp_port":           {"0", "65535"},
		"log.level":                 {"debug", "error"},
		"public.discovery":          {"", "https://example.com/x"},
		"password.argon2_memory":    {"8KiB", "19MiB"},
		"tls.development":           {"true", "false"},
		"tls.acme.domain":           {"", "chat.example.com"},
		"public.origins":            {"", "https://a.example", "https://a.example,http://b.example:8080"},
		"trusted_proxies":           {"", "192.0.2.7", "10.0.0.0/8,2001:db8::1"},
	} {
		for _, text := range texts {
			c := Default()
			if err := c.Set(key, text, "test"); err != nil {
				t.Errorf("%s: %v", key, err)
			} else if got := c.Show(key); got != text {
				t.Errorf("%s: %q is shown as %q", key, text, got)
			}
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("listen:\n  tcp: :8000\n")
	f.Add("a: &x [*x]\n")
	f.Add("? {a: b}\n: c\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		for _, problem := range c.readYAML("f.yaml", []byte(text)) {
			if !strings.HasPrefix(problem.Error(), "f.yaml:") {
				t.Errorf("a problem without its place: %v", problem)
			}
		}
		for _, o := range Options() { // whatever was taken is valid
			if err := o.value.set(c, o.value.show(c)); err != nil {
				t.Errorf("%s was accepted: %v", o.Key, err)
			}
		}
	})
}
