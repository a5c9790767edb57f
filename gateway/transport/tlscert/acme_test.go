package tlscert

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const acmeName = "chat.example.com"

// authority is an ACME server (RFC 8555) with one account and one order; it checks the name by tls-alpn-01 at port, and signatures not at all.
type authority struct {
	*httptest.Server
	t    *testing.T
	port string
	key  *ecdsa.PrivateKey
	ca   *x509.Certificate

	mu      sync.Mutex // guards what follows
	refuses bool
	valid   bool
	asked   bool
	chain   []byte
}

func startAuthority(t *testing.T, port string) *authority {
	t.Helper()
	a := &authority{t: t, port: port}
	a.key, a.ca = rootCertificate(t)
	a.Server = httptest.NewTLSServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func rootCertificate(t *testing.T) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	d := development(t, t.TempDir())
	return d.key, d.ca
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", fmt.Sprint(time.Now().UnixNano()))
	w.Header().Set("Content-Type", "application/json")
	reply := func(status int, body any) {
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			a.t.Error(err)
		}
	}
	pending := map[bool]string{true: "valid", false: "pending"}[a.valid]
	order := map[string]any{"status": map[bool]string{true: "ready", false: "pending"}[a.valid], "finalize": a.URL + "/finalize",
		"identifiers": []any{map[string]string{"type": "dns", "value": acmeName}}, "authorizations": []string{a.URL + "/authz"}}
	if a.chain != nil {
		order["status"], order["certificate"] = "valid", a.URL+"/cert"
	}
	challenge := map[string]string{"type": "tls-alpn-01", "url": a.URL + "/challenge", "token": "token", "status": pending}
	switch r.URL.Path {
	case "/directory":
		reply(200, map[string]string{"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/neworder"})
	case "/nonce":
	case "/account":
		w.Header().Set("Location", a.URL+"/account/1")
		reply(201, map[string]string{"status": "valid"})
	case "/neworder":
		if a.refuses {
			w.Header().Set("Content-Type", "application/problem+json")
			reply(403, map[string]any{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this name", "status": 403})
			return
		}
		w.Header().Set("Location", a.URL+"/order")
		reply(201, order)
	case "/order":
		reply(200, order)
	case "/authz":
		reply(200, map[string]any{"status": pending, "identifier": map[string]string{"type": "dns", "value": acmeName}, "challenges": []any{challenge}})
	case "/challenge":
		a.valid, a.asked = a.check(), true
		reply(200, challenge)
	case "/finalize":
		a.issue(r)
		order["status"], order["certificate"] = "valid", a.URL+"/cert"
		reply(200, order)
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(a.chain) // the client notices
	default:
		http.NotFound(w, r)
	}
}

// check asks the TLS port whether it belongs to who ordered (RFC 8737).
func (a *authority) check() bool {
	conn, err := tls.Dial("tcp", a.port, &tls.Config{ServerName: acmeName, NextProtos: []string{ACMEProtocol}, InsecureSkipVerify: true})
	if err != nil {
		a.t.Errorf("the port does not answer the authority: %v", err)
		return false
	}
	defer conn.Close()
	state := conn.ConnectionState()
	identifier := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	return state.NegotiatedProtocol == ACMEProtocol &&
		slices.ContainsFunc(state.PeerCertificates[0].Extensions, func(e pkix.Extension) bool { return e.Id.Equal(identifier) && e.Critical })
}

// issue signs the request for a certificate.
func (a *authority) issue(r *http.Request) {
	var signed struct{ Payload string }
	var order struct{ CSR string }
	err := json.NewDecoder(r.Body).Decode(&signed)
	if err == nil {
		var payload []byte
		if payload, err = base64.RawURLEncoding.DecodeString(signed.Payload); err == nil {
			err = json.Unmarshal(payload, &order)
		}
	}
	if err != nil {
		a.t.Error(err)
		return
	}
	raw, err := base64.RawURLEncoding.DecodeString(order.CSR)
	if err != nil {
		a.t.Error(err)
		return
	}
	csr, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		a.t.Error(err)
		return
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(90 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, csr.PublicKey, a.key)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca.Raw})...)
}

// lines is a log that tells when a text has been written.
type lines struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	fresh chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.fresh <- struct{}{}:
		default:
		}
	}()
	return l.text.Write(b)
}

func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		l.mu.Lock()
		all := l.text.String()
		l.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-l.fresh:
		case <-limit:
			t.Fatalf("%q is not in the log: %s", text, all)
		}
	}
}

// obtaining is a TLS port whose certificate comes from an authority.
type obtaining struct {
	authority *authority
	log       *lines
	registry  *prometheus.Registry
	address   string
}

func obtain(t *testing.T, refuses bool) obtaining {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := obtaining{log: &lines{fresh: make(chan struct{}, 1)}, registry: prometheus.NewRegistry(), address: ln.Addr().String()}
	o.authority = startAuthority(t, o.address)
	o.authority.refuses = refuses
	roots := x509.NewCertPool()
	roots.AddCert(o.authority.Certificate())
	source := NewACME(ACMEConfig{Dir: t.TempDir(), Domain: acmeName, Email: "admin@example.com", Directory: o.authority.URL + "/directory", Host: "127.0.0.1",
		Port: ln.Addr().(*net.TCPAddr).Port, Roots: roots, Registerer: o.registry, Log: slog.New(slog.NewTextHandler(o.log, nil))})
	conf := ServerConfig(source)
	conf.NextProtos = []string{"http/1.1", ACMEProtocol}
	var running sync.WaitGroup
	running.Go(func() { // ends when the listener is closed
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with the handshake
				_ = tls.Server(nc, conf).Handshake() // the client says how it went
				_ = nc.Close()
			})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { // ends with ctx
		if err := source.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		running.Wait()
	})
	return o
}

func TestACMEObtainsACertificate(t *testing.T) {
	o := obtain(t, false)
	o.log.await(t, "certificate obtained")
	roots := x509.NewCertPool()
	roots.AddCert(o.authority.ca)
	for _, name := range []string{acmeName, ""} { // clients that connect to an address send no name
		conf := &tls.Config{RootCAs: roots, ServerName: name, InsecureSkipVerify: name == ""}
		conn := dialWhenReady(t, o.address, conf)
		if got := conn.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(got, []string{acmeName}) {
			t.Errorf("%q: the certificate is for %v", name, got)
		}
		_ = conn.Close()
	}
	if !o.authority.asked {
		t.Error("the authority did not check the name")
	}
	if got := metric(t, o.registry, "teamtalk_tls_certificate_not_after_seconds"); got < float64(time.Now().Add(80*24*time.Hour).Unix()) {
		t.Errorf("valid until %v", got)
	}
}

// dialWhenReady tries until the certificate that was obtained is in use.
func dialWhenReady(t *testing.T, address string, conf *tls.Config) *tls.Conn {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		conn, err := tls.Dial("tcp", address, conf)
		if err == nil {
			return conn
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			t.Fatalf("%q: %v", conf.ServerName, err)
		}
	}
}

func TestACMERefused(t *testing.T) {
	o := obtain(t, true)
	o.log.await(t, "no certificate obtained, trying again later")
	if got := metric(t, o.registry, "teamtalk_tls_certificate_errors_total"); got < 1 {
		t.Errorf("%v errors", got)
	}
	if got := metric(t, o.registry, "teamtalk_tls_certificate_not_after_seconds"); got != 0 {
		t.Errorf("valid until %v", got)
	}
	if conn, err := tls.Dial("tcp", o.address, &tls.Config{ServerName: acmeName, InsecureSkipVerify: true}); err == nil {
		_ = conn.Close()
		t.Error("a handshake without a certificate succeeded")
	}
}
