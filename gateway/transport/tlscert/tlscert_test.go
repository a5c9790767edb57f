package tlscert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// certmagic never ends its rate limiter, and the keeper of a lock only seconds after the lock: they are not ours to end.
func TestMain(m *testing.M) {
	const pkg = "github.com/caddyserver/certmagic."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(pkg+"(*RingBufferRateLimiter).loop"), goleak.IgnoreAnyFunction(pkg+"keepLockfileFresh"))
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func development(t *testing.T, dir string, hosts ...string) *Development {
	t.Helper()
	d, err := NewDevelopment(DevelopmentConfig{Dir: dir, Hosts: hosts, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// writePair puts a certificate for a host into the two files.
func writePair(t *testing.T, certificate, key, host string) {
	t.Helper()
	c, err := development(t, t.TempDir(), host).Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// lastName is the last host a source's certificate is for.
func lastName(t *testing.T, s Source) string {
	t.Helper()
	c, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.DNSNames[len(c.Leaf.DNSNames)-1]
}

// metric is the value of a metric without labels.
func metric(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A client that was given the authority's file trusts the server under all its names, and nobody else does.
func TestDevelopmentIsTrustedByItsFile(t *testing.T) {
	d := development(t, filepath.Join(t.TempDir(), "tls"), "chat.example.com", "192.0.2.7")
	raw, err := os.ReadFile(d.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		t.Fatal("the file holds no certificate")
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "chat.example.com", "192.0.2.7"} {
		if err := shake(t, d, &tls.Config{RootCAs: roots, ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if shake(t, d, &tls.Config{RootCAs: roots, ServerName: "other.example.com"}) == nil {
		t.Error("another name is believed")
	}
	if shake(t, d, &tls.Config{ServerName: "localhost"}) == nil {
		t.Error("it is believed without the authority")
	}
	if shake(t, d, &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: tls.VersionTLS11}) == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// shake does a handshake and tells how it went for the client.
func shake(t *testing.T, s Source, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() { // ends with the pipe
		defer close(done)
		server := tls.Server(a, ServerConfig(s))
		_ = server.Handshake() // the client says how it went
		_, _ = io.Copy(io.Discard, server)
		_ = a.Close()
	}()
	err := tls.Client(b, client).Handshake()
	_ = b.Close()
	<-done
	return err
}

func TestDevelopmentAuthorityStaysTheSame(t *testing.T) {
	dir := t.TempDir()
	first, second, other := development(t, dir), development(t, dir), development(t, t.TempDir())
	if first.CAFingerprint() != second.CAFingerprint() {
		t.Error("a second start has another authority")
	}
	if first.CAFingerprint() == other.CAFingerprint() {
		t.Error("two directories have the same authority")
	}
	if n := len(first.CAFingerprint()); n != 32*3-1 {
		t.Errorf("fingerprint %s", first.CAFingerprint())
	}
	info, err := os.Stat(filepath.Join(dir, caKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
}

func TestDevelopmentRefusesWhatItHasNotMade(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"no PEM": func(dir string) error { return os.WriteFile(filepath.Join(dir, caFile), []byte("x"), 0o600) },
		"another's key": func(dir string) error {
			return os.Rename(filepath.Join(dir, "other", caKeyFile), filepath.Join(dir, caKeyFile))
		},
		"no authority": func(dir string) error {
			writePair(t, filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile), "a.example.com")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			development(t, dir)
			development(t, filepath.Join(dir, "other"))
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := NewDevelopment(DevelopmentConfig{Dir: dir, Log: silent()}); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A server that runs for years always has a certificate that is valid now, for not more than 14 days altogether.
func TestDevelopmentRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := development(t, t.TempDir())
		serials := make(map[string]bool)
		for range 60 {
			c, err := d.Certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if now.Before(c.Leaf.NotBefore.Add(leafBackdate)) || now.After(c.Leaf.NotAfter.Add(-renewLeft)) {
				t.Fatalf("at %v: valid from %v to %v", now, c.Leaf.NotBefore, c.Leaf.NotAfter)
			}
			if life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore); life > 14*24*time.Hour {
				t.Fatalf("valid for %v", life)
			}
			serials[c.Leaf.SerialNumber.String()] = true
			<-time.After(24 * time.Hour)
		}
		if len(serials) < 8 || len(serials) > 11 {
			t.Errorf("%d certificates in 60 days", len(serials))
		}
	})
}

// An authority that is about to expire makes way for a new one at the next start.
func TestDevelopmentAuthorityExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := development(t, dir)
		<-time.After(caLife - leafLife - time.Hour)
		if development(t, dir).CAFingerprint() != first.CAFingerprint() {
			t.Error("replaced before its time")
		}
		<-time.After(2 * time.Hour)
		if development(t, dir).CAFingerprint() == first.CAFingerprint() {
			t.Error("not replaced")
		}
	})
}

func TestFilesAreLoadedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		writePair(t, certificate, key, "one.example.com")
		registry := prometheus.NewRegistry()
		var log bytes.Buffer
		f, err := NewFiles(FilesConfig{Certificate: certificate, Key: key, Registerer: registry, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(name string, failures float64) {
			t.Helper()
			if got := lastName(t, f); got != name {
				t.Errorf("the certificate is for %s, not %s", got, name)
			}
			if got := metric(t, registry, "teamtalk_tls_certificate_errors_total"); got != failures {
				t.Errorf("%v failures, want %v", got, failures)
			}
		}
		expect("one.example.com", 0)

		writePair(t, certificate, key, "two-longer.example.com")
		expect("one.example.com", 0) // not looked at yet
		<-time.After(lookEvery)
		expect("two-longer.example.com", 0)

		// Half of an exchange: the former one stays, and the rest is taken up when it is there.
		writePair(t, certificate, filepath.Join(dir, "not-yet"), "three-still-longer.example.com")
		<-time.After(lookEvery)
		expect("two-longer.example.com", 1)
		expect("two-longer.example.com", 1) // told once
		if !strings.Contains(log.String(), "the former one stays in use") {
			t.Errorf("the log says %s", log.String())
		}
		if err := os.Rename(filepath.Join(dir, "not-yet"), key); err != nil {
			t.Fatal(err)
		}
		<-time.After(lookEvery)
		expect("three-still-longer.example.com", 1)

		if err := os.Remove(certificate); err != nil {
			t.Fatal(err)
		}
		<-time.After(lookEvery)
		expect("three-still-longer.example.com", 2)
		if got := metric(t, registry, "teamtalk_tls_certificate_not_after_seconds"); got < float64(time.Now().Unix()) {
			t.Errorf("valid until %v", got)
		}
	})
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if _, err := NewFiles(FilesConfig{Certificate: certificate, Key: key}); err == nil || !strings.Contains(err.Error(), certificate) {
		t.Errorf("missing: %v", err)
	}
	writePair(t, certificate, filepath.Join(dir, "other"), "a.example.com")
	writePair(t, filepath.Join(dir, "another"), key, "b.example.com")
	if _, err := NewFiles(FilesConfig{Certificate: certificate, Key: key}); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("mixed: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	const want = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
	if got := Fingerprint([]byte("abc")); got != want {
		t.Errorf("got %s", got)
	}
}
