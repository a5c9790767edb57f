package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"teamtalk/protocol"
)

// bench is a node whose commits are synced, as the engine's are.
func bench(b *testing.B, people int) *node {
	n := newNode(b)
	n.people(people)
	n.db.NoSync = false
	return n
}

func (n *node) commit(index uint64, cmds [][]byte) {
	err := n.db.Update(func(tx *bbolt.Tx) error {
		for i, c := range cmds {
			a, err := n.m.Apply(tx, protocol.Position{Index: index, Sub: uint16(i)}, n.clock+int64(index), c)
			if err != nil {
				return err
			}
			if err, refused := a.Result.(error); refused {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
}

// sendCommand is a message of 100 bytes in one of many conversations among people.
func sendCommand(b *testing.B, seq uint64, conv, people int) []byte {
	a := conv%people + 1
	c := text(protocol.UserID(a), protocol.WithUser(protocol.UserID((a+conv/people)%people+1)), "")
	c.Data = make([]byte, 100)
	// Ids of one sender are ordered in time, as those of our clients and of the gateway are.
	binary.BigEndian.PutUint64(c.ClientMsgID[:], seq)
	binary.BigEndian.PutUint64(c.ClientMsgID[8:], rand.Uint64())
	cmd, err := encodeCommand(c)
	if err != nil {
		b.Fatal(err)
	}
	return cmd
}

func BenchmarkApplySend(b *testing.B) {
	for _, v := range []struct{ batch, convs, people, warm int }{
		{64, 512, 1024, 512}, {512, 512, 1024, 512}, {512, 1, 2, 1}, {512, 100_000, 5000, 100_000},
		{512, 512, 1024, 300_000}, {512, 100_000, 5000, 400_000},
	} {
		b.Run(fmt.Sprintf("batch=%d/convs=%d/stored=%d", v.batch, v.convs, v.warm), func(b *testing.B) {
			n := bench(b, v.people)
			n.db.NoSync = true
			seq, order := 0, rand.Perm(v.convs)
			batch := func(size int) [][]byte {
				cmds := make([][]byte, size)
				for i := range cmds {
					cmds[i] = sendCommand(b, uint64(seq), order[seq%v.convs], v.people)
					seq++
				}
				return cmds
			}
			for ; seq < v.warm; n.index++ {
				n.commit(n.index+10, batch(512))
			}
			n.db.NoSync = false
			rounds := max(1, b.N/v.batch)
			b.ResetTimer()
			for range rounds {
				b.StopTimer()
				cmds := batch(v.batch)
				b.StartTimer()
				n.index++
				n.commit(n.index+10, cmds)
			}
			b.ReportMetric(float64(rounds*v.batch)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkRawAppend is the yardstick: bare rows of a message's size, appended in the same batches.
func BenchmarkRawAppend(b *testing.B) {
	n := bench(b, 1)
	seq := uint64(1 << 40)
	for done := 0; done < b.N; done += 512 {
		err := n.db.Update(func(tx *bbolt.Tx) error {
			t := &txn{tx: tx}
			for range 512 {
				seq++
				key := positionKey(protocol.Position{Index: seq})
				if err := t.put(bLog, key[:], t.room(160)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkDelete recalls messages, spread over the log, 64 in a commit.
func BenchmarkDelete(b *testing.B) {
	n := bench(b, 2)
	n.db.NoSync = true
	const stored = 100_000
	for sent := 0; sent < stored; sent += 500 {
		cmds := make([][]byte, 500)
		for i := range cmds {
			cmds[i] = sendCommand(b, uint64(sent+i), 0, 2)
		}
		n.index++
		n.commit(n.index+10, cmds)
	}
	n.db.NoSync = false
	ids := rand.Perm(stored)
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		var cmds [][]byte
		for ; done < b.N && len(cmds) < 64; done++ {
			c := &protocol.DeleteMessage{Actor: 1, Session: protocol.WithUser(2), ID: protocol.MsgID(ids[done%stored] + 1), Deletion: protocol.Recalled, Within: 1 << 40}
			cmd, err := encodeCommand(c)
			if err != nil {
				b.Fatal(err)
			}
			cmds = append(cmds, cmd)
		}
		b.StartTimer()
		n.index++
		n.commit(n.index+10, cmds)
	}
}

// BenchmarkReadBurning reads many messages to be burned with one command, and has the others moved and all burned.
func BenchmarkReadBurning(b *testing.B) {
	for _, count := range []int{1, 1000, 10_000} {
		b.Run("messages="+itoa(count), func(b *testing.B) {
			n := bench(b, 2)
			n.do(&protocol.BurnDue{Limit: 1})
			var read, burn time.Duration
			commands := 0
			for range b.N {
				b.StopTimer()
				n.db.NoSync = true
				for sent := 0; sent < count; sent += 500 {
					cmds := make([]protocol.Command, min(count, 500))
					for i := range cmds {
						cmds[i] = burning(1, 2, 5)
					}
					n.apply(cmds...)
				}
				n.db.NoSync = false
				if err := n.db.Sync(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				start := time.Now()
				n.do(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
				read += time.Since(start)
				start = time.Now()
				n.clock += 6000
				for more := true; more; commands++ {
					more = n.do(&protocol.BurnDue{Limit: 256}).(protocol.BurnDueResult).More
				}
				burn += time.Since(start)
			}
			b.ReportMetric(float64(read.Microseconds())/float64(b.N), "µs/read")
			b.ReportMetric(float64(burn.Microseconds())/float64(commands), "µs/burn")
			b.ReportMetric(float64(commands)/float64(b.N), "burns")
		})
	}
}
