package transfer

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	modeOffline = pb.TransferFileType_FILE_TYPE_OFFLINE
	done        = pb.ClientFileState_CLIENT_FILE_DONE
	cancel      = pb.ClientFileState_CLIENT_FILE_CANCEL
)

// pushes answers the pulls of one block each, from offset up to end.
func (c *client) pushes(task string, file []byte, offset, end int) {
	c.s.Helper()
	for offset < end {
		n := min(segment, len(file)-offset)
		c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, offset, n))
		c.send(pdu.CmdFilePullRes, 50, blockOf(task, 77, offset, file[offset:offset+n]))
		offset += n
	}
}

func (c *client) stored(task string) {
	c.s.Helper()
	c.expect(pdu.CmdFileState, 0, state(done, task, 1))
	c.ends()
}

// fetch pulls a file that waits, from offset on.
func (s *stage) fetch(task string, file []byte, offset int) {
	s.Helper()
	c := s.login(2, task, downloader)
	for seq := uint16(20); offset < len(file); seq++ {
		n := min(segment, len(file)-offset)
		c.send(pdu.CmdFilePullReq, seq, pullOf(task, 2, modeOffline, offset, 34816)) // as Windows asks
		c.expect(pdu.CmdFilePullRes, seq, blockOf(task, 2, offset, file[offset:offset+n]))
		offset += n
	}
	c.expect(pdu.CmdFileState, 0, state(done, task, 1))
	c.ends()
}

// [TT-FILE-10] [TT-FILE-11]: there and back, for sizes around the segment.
func TestOffline(t *testing.T) {
	for _, size := range []int{1, segment - 1, segment, segment + 1, 3*segment + 4219} {
		play(t, Limits{}, func(s *stage) {
			file := content(size)
			task := s.offer(size, false)
			s.connect(0).login(2, task, downloader, 1) // nothing waits yet
			c := s.login(1, task, uploader)
			c.pushes(task, file, 0, size)
			c.stored(task)
			f, got := s.w.file(task)
			want := protocol.OfflineFile{From: 1, To: 2, TaskID: task, Name: "C:/Users/a/f.bin", Size: uint32(size), Blob: f.Blob}
			if f != want || f.Blob.IsZero() || !bytes.Equal(got, file) {
				t.Errorf("waits: %+v, %d bytes", f, len(got))
			}
			s.fetch(task, file, 0)
			s.fetch(task, file, 0) // as often as one likes
			for u, role := range map[protocol.UserID]pb.ClientFileRole{1: downloader, 3: downloader} {
				s.connect(0).login(u, task, role, 1)
			}
		})
	}
}

// [TT-FILE-10] [TT-FILE-11]: nothing is a file too.
func TestOfflineEmpty(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		task := s.offer(0, false)
		s.login(1, task, uploader).stored(task)
		c := s.login(2, task, downloader)
		c.send(pdu.CmdFilePullReq, 4, pullOf(task, 2, modeOffline, 0, 0))
		c.expect(pdu.CmdFilePullRes, 4, blockOf(task, 2, 0, nil))
		c.expect(pdu.CmdFileState, 0, state(done, task, 1))
		c.ends()
	})
}

// [TT-FILE-8]: an upload goes on where it was, a download where the client says; one that has been stored says so again.
func TestOfflineResumed(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		file := content(4*segment + 5)
		task := s.offer(len(file), false)
		c := s.login(1, task, uploader)
		c.pushes(task, file, 0, 2*segment)
		c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, 2*segment, segment))
		c.close()
		<-c.gone
		s.pass(9 * time.Minute)
		c = s.login(1, task, uploader)
		c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, 2*segment, segment))
		c.close()
		<-c.gone
		s.pass(9 * time.Minute) // again
		c = s.login(1, task, uploader)
		c.pushes(task, file, 2*segment, 3*segment)
		c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, 3*segment, segment))
		again := s.login(1, task, uploader) // before the break was noticed
		c.ends()
		again.pushes(task, file, 3*segment, len(file))
		again.stored(task)
		s.login(1, task, uploader).stored(task) // the answer was lost
		s.connect(0).login(2, task, uploader, 1)
		if _, got := s.w.file(task); !bytes.Equal(got, file) {
			t.Error("another file was stored")
		}

		d := s.login(2, task, downloader)
		d.send(pdu.CmdFilePullReq, 4, pullOf(task, 2, modeOffline, 0, segment))
		d.expect(pdu.CmdFilePullRes, 4, blockOf(task, 2, 0, file[:segment]))
		d.close()
		s.fetch(task, file, segment)
		s.fetch(task, file, 3*segment+1)
	})
}

// [TT-FILE-8]: a sender who does not come back is waited for, but not for ever; what he sent is gone then.
func TestExpired(t *testing.T) {
	play(t, Limits{TasksPerUser: 3}, func(s *stage) {
		file := content(2 * segment)
		never, begun, waits := s.offer(len(file), true), s.offer(len(file), false), s.offer(len(file), true)
		if _, _, err := s.e.Offer(t.Context(), 1, 2, "f", 1, true); protocol.CodeOf(err) != protocol.CodeOverloaded {
			t.Errorf("a fourth task: %v", err)
		}
		c := s.login(1, begun, uploader)
		c.pushes(begun, file, 0, segment)
		c.expect(pdu.CmdFilePullReq, 0, pullOf(begun, 1, modeOffline, segment, segment))
		c.close()
		from := s.login(1, waits, sender) // and waits for its receiver
		for range 11 {
			s.pass(time.Minute)
			from.send(pdu.CmdHeartbeat, 5, nil)
			from.expect(pdu.CmdHeartbeat, 5, &pb.IMHeartBeat{})
		}
		synctest.Wait()
		if n := s.w.openDrafts(); n != 0 {
			t.Errorf("%d drafts are left", n)
		}
		s.connect(0).login(2, never, receiver, 1)
		s.connect(0).login(1, begun, uploader, 1)
		s.login(2, waits, receiver).expect(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_PEER_READY, waits, 1))
	})
}

// [TT-FILE-10]: what is not the block asked for ends the connection, not the task; what the sender gives up is gone.
func TestUploadProtocol(t *testing.T) {
	file := content(2 * segment)
	for name, wrong := range map[string]func(c *client, task string){
		"another offset": func(c *client, task string) { c.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, segment, file[:segment])) },
		"too little":     func(c *client, task string) { c.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, 0, file[:segment-1])) },
		"too much":       func(c *client, task string) { c.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, 0, file[:segment+1])) },
		"another task":   func(c *client, _ string) { c.send(pdu.CmdFilePullRes, 1, blockOf("x", 1, 0, file[:segment])) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				task := s.offer(len(file), false)
				c := s.login(1, task, uploader)
				c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, 0, segment))
				wrong(c, task)
				c.ends()
				c = s.login(1, task, uploader)
				c.pushes(task, file, 0, len(file))
				c.stored(task)
			})
		})
	}
	for name, gives := range map[string]func(c *client, task string){
		"cancelled":  func(c *client, task string) { c.send(pdu.CmdFileState, 1, state(cancel, task, 1)) },
		"done early": func(c *client, task string) { c.send(pdu.CmdFileState, 1, state(done, task, 1)) },
		"unreadable": func(c *client, task string) {
			m := blockOf(task, 1, 0, nil)
			m.ResultCode = new(uint32(1))
			c.send(pdu.CmdFilePullRes, 1, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				task := s.offer(len(file), false)
				c := s.login(1, task, uploader)
				c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, 0, segment))
				gives(c, task)
				c.ends()
				s.connect(0).login(1, task, uploader, 1)
				if f, _ := s.w.file(task); f.TaskID != "" {
					t.Errorf("waits: %+v", f)
				}
			})
		})
	}
}

// [TT-FILE-10]: what can't be stored ends the task, and the sender is told; a cluster without a leader is waited for.
func TestNotStored(t *testing.T) {
	file := content(segment)
	play(t, Limits{}, func(s *stage) {
		s.w.full = errors.New("disk full")
		task := s.offer(len(file), false)
		c := s.login(1, task, uploader)
		c.pushes(task, file, 0, len(file))
		c.expect(pdu.CmdFileState, 0, state(cancel, task, 1))
		c.ends()
		s.connect(0).login(1, task, uploader, 1)
	})
	for downs, want := range map[int]pb.ClientFileState{5: done, 1000: cancel} {
		play(t, Limits{}, func(s *stage) {
			s.w.down = downs
			task := s.offer(len(file), false)
			c := s.login(1, task, uploader)
			c.pushes(task, file, 0, len(file))
			c.expect(pdu.CmdFileState, 0, state(want, task, 1))
			c.ends()
		})
	}
}

// [TT-FILE-11]: the receiver says that it wants no more; one who asks for what is not there is sent away.
func TestDownloadEnds(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		file := content(2 * segment)
		task := s.offer(len(file), false)
		c := s.login(1, task, uploader)
		c.pushes(task, file, 0, len(file))
		c.stored(task)
		for _, end := range []func(c *client){
			func(c *client) { c.send(pdu.CmdFileState, 1, state(done, task, 2)) },
			func(c *client) { c.send(pdu.CmdFileState, 1, state(cancel, task, 2)) },
			func(c *client) { c.send(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOffline, len(file)+1, 1)) },
			func(c *client) { c.send(pdu.CmdFilePullReq, 1, pullOf("x", 2, modeOffline, 0, 1)) },
		} {
			c := s.login(2, task, downloader)
			end(c)
			c.ends()
		}
		s.fetch(task, file, 0)
	})
}

// [TT-FILE-11]: of what is asked for no more is read than the receiver takes.
func TestSlowDownload(t *testing.T) {
	play(t, Limits{Bytes: 2 * segment}, func(s *stage) {
		file := content(40 * segment)
		task := s.offer(len(file), false)
		c := s.login(1, task, uploader)
		c.pushes(task, file, 0, len(file))
		c.stored(task)
		d := s.login(2, task, downloader)
		asked := 0
		for ; asked < 40; asked++ {
			b, err := pdu.Append(nil, pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOffline, asked*segment, segment))
			if err != nil {
				t.Fatal(err)
			}
			_ = d.conn.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := d.conn.Write(b); err != nil {
				break // it is not read any more
			}
		}
		if asked < 2 || asked > 10 {
			t.Errorf("%d blocks could be asked for, and none was taken", asked)
		}
		for i := range asked - 1 {
			d.expect(pdu.CmdFilePullRes, 1, blockOf(task, 2, i*segment, file[i*segment:(i+1)*segment]))
		}
	})
}

// [TT-FILE-12]: on a stream beside a session several blocks are on their way, and the receiver chooses how much it gets; it is for the session's user only.
func TestBulk(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		file := content(20*bulkSegment + 9)
		task := s.offer(len(file), false)
		c := s.connect(1)
		c.login(1, task, uploader, 0)
		for i := range bulkWindow {
			c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, i*bulkSegment, bulkSegment))
		}
		c.silent()
		for at := 0; at < len(file); at += bulkSegment {
			n := min(bulkSegment, len(file)-at)
			c.send(pdu.CmdFilePullRes, 50, blockOf(task, 1, at, file[at:at+n]))
			if next := at + bulkWindow*bulkSegment; next < len(file) {
				c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, next, min(bulkSegment, len(file)-next)))
			}
		}
		c.stored(task)

		d := s.connect(2)
		d.login(2, task, downloader, 0)
		go func() { // ends with the last pull; what it asks for is read below
			for _, ask := range []int{0, 500_000, len(file) - 9} {
				d.send(pdu.CmdFilePullReq, 3, pullOf(task, 2, modeOffline, ask, 500_000))
			}
		}()
		d.expect(pdu.CmdFilePullRes, 3, blockOf(task, 2, 0, file[:500_000]))
		d.expect(pdu.CmdFilePullRes, 3, blockOf(task, 2, 500_000, file[500_000:1_000_000]))
		d.expect(pdu.CmdFilePullRes, 3, blockOf(task, 2, len(file)-9, file[len(file)-9:]))
		d.expect(pdu.CmdFileState, 0, state(done, task, 1))
		d.ends()

		for _, u := range []protocol.UserID{1, 3} { // whose session it is
			c := s.connect(u)
			c.login(2, task, downloader, 1)
			c.ends()
		}
		c = s.connect(2)
		c.send(pdu.CmdHeartbeat, 1, nil)
		c.ends()
	})
}

// [TT-FILE-7]: heartbeats are answered as they are, before the login too; what comes before it is ignored. Who does not log in, or says nothing, is sent away.
func TestTimes(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		began := time.Now()
		c := s.connect(0)
		c.send(pdu.CmdHeartbeat, 9, nil)
		c.expect(pdu.CmdHeartbeat, 9, &pb.IMHeartBeat{})
		c.send(pdu.CmdFilePullReq, 1, pullOf("x", 1, modeOffline, 0, 1))
		c.send(pdu.CmdFileLoginReq, 1, loginRes(0, "")) // not whole
		c.silent()
		c.endsOnce()
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("without a login it took %v", d)
		}
		task := s.offer(9, true)
		c = s.login(1, task, sender)
		for range 3 {
			s.pass(119 * time.Second)
			c.send(pdu.CmdHeartbeat, 9, nil)
			c.expect(pdu.CmdHeartbeat, 9, &pb.IMHeartBeat{})
		}
		began = time.Now()
		c.endsOnce()
		if d := time.Since(began); d != 120*time.Second {
			t.Errorf("without a word it took %v", d)
		}
	})
}

// [TT-FILE-7]: an address has so many connections that have not logged in; those that have do not count.
func TestStrangers(t *testing.T) {
	play(t, Limits{PerAddress: 2}, func(s *stage) {
		for range 3 {
			s.login(1, s.offer(9, true), sender)
		}
		one := s.connect(0)
		s.connect(0)
		synctest.Wait()
		s.connect(0).ends()
		one.close()
		<-one.gone
		s.connect(0).silent()
	})
}

// [TT-FILE-5]: who gets a file while it is sent, and what is too large to wait.
func TestOffer(t *testing.T) {
	play(t, Limits{File: 1000}, func(s *stage) {
		for u, clients := range map[protocol.UserID][]protocol.ClientType{
			3: {protocol.ClientAndroid, protocol.ClientWeb, protocol.ClientTerminal}, 4: {protocol.ClientIOS, protocol.ClientMac}, protocol.MaxLocalID + 4: {protocol.ClientWindows},
		} {
			s.w.online[u] = clients
		}
		seen := map[string]bool{}
		for to, want := range map[protocol.UserID]bool{2: true, 3: false, 4: true, 5: false, protocol.MaxLocalID + 4: false} {
			for _, asked := range []bool{true, false} {
				id, online, err := s.e.Offer(t.Context(), 1, to, "f", 1000, asked)
				if err != nil || online != (want && asked) || seen[id] || !s.e.IsTask(id) {
					t.Errorf("to %d, online %v: %q online %v, %v", to, asked, id, online, err)
				}
				seen[id] = true
			}
		}
		if _, _, err := s.e.Offer(t.Context(), 1, 3, "f", 1001, true); protocol.CodeOf(err) != protocol.CodeTooLarge {
			t.Errorf("too large to wait: %v", err)
		}
		if _, _, err := s.e.Offer(t.Context(), 1, 2, "f", 1001, true); err != nil {
			t.Errorf("that does not have to wait: %v", err)
		}
		s.w.room = protocol.Errorf(protocol.CodeQuota, "no room")
		if _, _, err := s.e.Offer(t.Context(), 1, 3, "f", 1, false); protocol.CodeOf(err) != protocol.CodeQuota {
			t.Errorf("without room: %v", err)
		}
		for _, id := range []string{"", "t-1", "69a89a47-de78-4a07-8280-f8aa98ce8504"} {
			if s.e.IsTask(id) {
				t.Errorf("%q is taken for a task of ours", id)
			}
		}
	})
}

// Whose a file is and how large it will be is said before its first byte is asked for: if others have taken the room since it was offered, nothing is.
func TestAnnounced(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		task := s.offer(segment+9, false)
		c := s.login(1, task, uploader)
		c.pushes(task, content(segment+9), 0, segment)
		if want := []announcement{{1, segment + 9}}; !slices.Equal(s.w.announced, want) {
			t.Errorf("announced %v, want %v", s.w.announced, want)
		}
		c.close()
		s.w.noRoom = protocol.Errorf(protocol.CodeQuota, "others have taken it")
		task = s.offer(segment, false)
		c = s.login(1, task, uploader)
		c.expect(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_CANCEL, task, 1))
		c.ends()
	})
}

// A node that leaves ends what is under way, and takes no more.
func TestStop(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		task := s.offer(2*segment, false)
		c := s.login(1, task, uploader)
		c.pushes(task, content(2*segment), 0, segment)
		from := s.login(1, s.offer(9, true), sender)
		synctest.Wait() // the block was taken, and the next one is asked for
		s.e.stop()
		c.expect(pdu.CmdFilePullReq, 0, pullOf(task, 1, modeOffline, segment, segment))
		c.ends()
		from.ends()
		if _, _, err := s.e.Offer(t.Context(), 1, 2, "f", 1, true); protocol.CodeOf(err) != protocol.CodeDraining {
			t.Errorf("offered to one who leaves: %v", err)
		}
	})
}
