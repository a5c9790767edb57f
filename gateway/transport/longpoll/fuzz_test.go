package longpoll

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"teamtalk/protocol/pdu"
)

// FuzzHandler sends whatever comes to a session; what is accepted comes out of Read.
func FuzzHandler(f *testing.F) {
	f.Add("POST", "", "", "1", "", true, frame(1, "x"))
	f.Add("POST", "", "", "2", "", true, frame(1, "x"))
	f.Add("POST", "", "", "1", "null", true, frame(1, "x")[:9])
	f.Add("GET", "", "after=0&wait=0", "", "", true, []byte{})
	f.Add("GET", "", "after=1", "", "http://example.com", true, []byte{})
	f.Add("POST", "/close", "", "", "", true, []byte{})
	f.Add("DELETE", "", "", "", "", false, []byte{})
	f.Add("GET", "/../x", "after=%zz", "", "", true, []byte{})
	st := newStage(f, func(c *Config) {
		c.Poll, c.Timing.Queue, c.Timing.Last, c.Limits.OpenBurst = time.Millisecond, time.Millisecond, time.Millisecond, 1<<30
	})
	f.Cleanup(st.end)
	f.Fuzz(func(t *testing.T, method, path, query, seq, origin string, known bool, body []byte) {
		st.t = t
		p := st.open()
		defer p.session().leave(errSilent, endUnread)
		if err := p.conn.Write([][]byte{frame(1, "y")}); err != nil {
			t.Fatal(err)
		}
		target := (&url.URL{Path: "/lp/" + p.ID + path, RawQuery: query}).RequestURI()
		r, err := http.NewRequest(method, "http://example.com"+target, bytes.NewReader(body))
		if err != nil {
			t.Skip(err)
		}
		header := []string{"Teamtalk-Seq", seq}
		if known {
			header = append(header, p.auth()...)
		}
		if origin != "" {
			header = append(header, "Origin", origin)
		}
		w := st.serve(r, header...)
		if n := w.Header().Get("Content-Length"); w.Code != 204 && n != strconv.Itoa(w.Body.Len()) {
			t.Errorf("Content-Length %q of %d", n, w.Body.Len())
		}
		if w.Code >= 500 && w.Code != 503 || w.Code == 200 && (!known || w.seq() != "1") {
			t.Errorf("%d, batch %q", w.Code, w.seq())
		}
		if !known && w.Code != 404 && w.Code != 403 && w.Code != 204 && w.Code != 405 && w.Code != 429 {
			t.Errorf("%d to a stranger", w.Code)
		}
		taken := 0
		for len(p.session().up.queue) > 0 {
			got, err := p.conn.Read(pdu.MaxLen)
			if err != nil {
				t.Fatal(err)
			}
			taken += int(got.Header.Length)
		}
		if taken != 0 && taken != len(body) || taken > 0 && (w.Code != 204 || seq != "1" && seq != "+1" && seq != "01") {
			t.Errorf("%d of %d bytes taken with %q and answered %d", taken, len(body), seq, w.Code)
		}
	})
}
