//go:build linux

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name, org string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a := &authority{key: key, cert: &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{org}},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// issue makes a certificate that is valid for ten days around a time from now.
func (a *authority) issue(t *testing.T, in time.Duration, host string) tls.Certificate {
	t.Helper()
	mid := time.Now().Add(in)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(mid.UnixNano()), NotBefore: mid.Add(-5 * day), NotAfter: mid.Add(5 * day)}
	if ip, err := netip.ParseAddr(host); err == nil {
		leaf.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		leaf.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

const day = 24 * time.Hour

// keep writes a certificate of the authority and its key into files for a server.
func (c *clinic) keep(t *testing.T, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return c.write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))),
		c.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// serve runs a server of connections on the far side of the network. It ends with the test.
func (c *clinic) serve(t *testing.T, address string, handle func(net.Conn)) {
	t.Helper()
	l, err := c.server.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var all sync.WaitGroup
	all.Go(func() { // ends when the port is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			all.Go(func() { // ends with the connection
				handle(conn)
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}

// inspector opens TLS and signs with its own authority what it then passes on. It knows HTTP and nothing else, as most do.
func (c *clinic) inspector(t *testing.T, address string, by *authority, explicit bool) {
	t.Helper()
	conf := &tls.Config{Certificates: []tls.Certificate{by.issue(t, 0, chatName)}, NextProtos: []string{"http/1.1"}}
	c.serve(t, address, func(conn net.Conn) {
		if explicit {
			req, err := http.ReadRequest(bufio.NewReader(conn)) // the client waits for the answer before it says more
			if err != nil || req.Method != http.MethodConnect {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		}
		inside := tls.Server(conn, conf)
		if inside.Handshake() != nil { // who does not trust it goes away
			return
		}
		raw, err := c.server.DialContext(t.Context(), "tcp", serverTLS)
		if err != nil {
			return
		}
		defer raw.Close()
		outside := tls.Client(raw, &tls.Config{ServerName: chatName, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true})
		both := make(chan struct{})
		go func() { // ends with either connection
			defer close(both)
			_, _ = io.Copy(outside, inside)
			raw.Close()
		}()
		_, _ = io.Copy(inside, outside)
		conn.Close()
		<-both
	})
}

// web runs a web server, with TLS if there is a certificate.
func (c *clinic) web(t *testing.T, address string, cert *tls.Certificate, page http.Handler) {
	t.Helper()
	l, err := c.server.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}})
	}
	s := &http.Server{Handler: page, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: Patience}
	done := make(chan struct{})
	go func() { // ends by Close
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
}

// page is what a web server shows for everything.
func page(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, text)
	})
}

// shifted is the server as the world sees it whose clocks are another time from here: for the doctor that is the same as a wrong clock of its own
// machine, which no process can be given.
func (c *clinic) shifted(t *testing.T, by time.Duration, ca *authority) {
	t.Helper()
	cert := ca.issue(t, by, chatName)
	outward := &http.Transport{DialContext: c.server.DialContext}
	t.Cleanup(outward.CloseIdleConnections)
	front := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: serverHTTP}) },
		Transport: outward,
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	c.web(t, otherIP+":443", &cert, front)
	c.names[chatName] = otherIP
}
