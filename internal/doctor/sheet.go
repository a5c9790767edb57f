package doctor

import (
	"time"

	"teamtalk/client/dial"
)

// Sheet is a report for programs and support desks. Its field names and the words of diagnosis, code, check and result stay as they are; new ones
// may come.
type Sheet struct {
	Time      string         `json:"time"` // of this machine: RFC 3339, UTC
	Servers   []string       `json:"servers"`
	OK        bool           `json:"ok"` // there is a way in
	Diagnosis Kind           `json:"diagnosis"`
	Summary   string         `json:"summary"`
	Findings  []SheetFinding `json:"findings"` // the diagnosis first
	Ways      []SheetWay     `json:"ways"`     // that work, the best first
	Checks    []SheetCheck   `json:"checks"`
}

// SheetFinding is what blocks, and what to do next.
type SheetFinding struct {
	Code Kind   `json:"code"`
	What string `json:"what"`
	Next string `json:"next"`
}

// SheetWay is a way in.
type SheetWay struct {
	Transport dial.Transport `json:"transport"`
	URL       string         `json:"url"`
	Proxy     string         `json:"proxy,omitempty"`
	Plain     bool           `json:"plain,omitempty"`
}

// SheetCheck is a step that was tried.
type SheetCheck struct {
	Check       string      `json:"check"`
	Target      string      `json:"target"`
	Proxy       string      `json:"proxy,omitempty"`
	Result      string      `json:"result"`
	Millis      float64     `json:"ms"`
	Detail      string      `json:"detail"`
	Certificate *SheetPaper `json:"certificate,omitempty"`
}

// SheetPaper is a certificate.
type SheetPaper struct {
	Issuer    string   `json:"issuer"`
	Names     []string `json:"names"`
	NotBefore string   `json:"not_before"` // RFC 3339, UTC, as the next
	NotAfter  string   `json:"not_after"`
	SHA256    string   `json:"sha256"`
	Protocol  string   `json:"protocol,omitempty"` // agreed on by ALPN
}

// Result is a check's in a word: ok, FAILED, or none for what no way in needs and only would have told more.
func (c Check) Result() string {
	switch {
	case c.OK:
		return "ok"
	case c.What == "http" && c.Err != nil:
		return "none"
	}
	return "FAILED"
}

// Sheet is the report for programs, made at a time.
func (r *Report) Sheet(servers []string, at time.Time) Sheet {
	s := Sheet{Time: stamp(at), Servers: servers, OK: r.OK(), Diagnosis: r.Diagnosis(), Summary: r.Summary(),
		Findings: []SheetFinding{}, Ways: []SheetWay{}, Checks: []SheetCheck{}}
	for _, f := range r.Findings {
		s.Findings = append(s.Findings, SheetFinding{f.Kind, f.What, f.Next})
	}
	for _, w := range r.Ways {
		s.Ways = append(s.Ways, SheetWay{w.Transport, w.URL, w.Proxy, w.Plain})
	}
	for _, c := range r.Checks {
		line := SheetCheck{Check: c.What, Target: c.Target, Proxy: c.Proxy, Result: c.Result(), Detail: c.Detail,
			Millis: float64(c.Took.Round(100*time.Microsecond).Microseconds()) / 1000}
		if p := c.Paper; p != nil {
			line.Certificate = &SheetPaper{Issuer: p.Issuer, Names: append([]string{}, p.Names...), NotBefore: stamp(p.NotBefore), NotAfter: stamp(p.NotAfter), SHA256: p.SHA256, Protocol: p.Protocol}
		}
		s.Checks = append(s.Checks, line)
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
