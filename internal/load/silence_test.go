package load

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol/pdu"
)

// TestSilence: a receiver that hears nothing for minutes keeps its connection by heartbeats, and still learns when the sender has finished.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &Conn{wire: newStream(near)}
		r := &run{clock: newClock(), to: time.Hour}
		l := &lane{}
		l.final.Store(-1)
		done := make(chan error, 1)
		go func() { done <- r.loop(t.Context(), l, c, newArrivals(), 0) }() // ends when the sender has finished
		began := time.Now()
		beat := make([]byte, pdu.HeaderLen)
		for n := 1; n <= 3; n++ {
			if _, err := far.Read(beat); err != nil {
				t.Fatal(err)
			}
			if _, err := far.Write(beat); err != nil {
				t.Fatal(err)
			}
			if h, err := pdu.ParseHeader(beat); err != nil || h.Command != pdu.CmdHeartbeat {
				t.Fatalf("%+v, %v", h, err)
			}
			if passed, most := time.Since(began), time.Duration(2*n)*heartbeatEvery; passed > most {
				t.Errorf("%d heartbeats after %v", n, passed)
			}
		}
		synctest.Wait()
		l.final.Store(0)
		c.setDeadline(time.Unix(1, 0)) // as a sender does
		if _, err := far.Read(beat); err != nil {
			t.Fatal(err)
		}
		woken := time.Now()
		if _, err := far.Write(beat); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || time.Since(woken) > time.Second {
			t.Errorf("%v, %v after it was woken", err, time.Since(woken))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
