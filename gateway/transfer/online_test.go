package transfer

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const modeOnline = pb.TransferFileType_FILE_TYPE_ONLINE

// ready has both sides connect, the sender first or last.
func (s *stage) ready(task string, senderFirst bool) (from, to *client) {
	s.Helper()
	if senderFirst {
		from = s.login(1, task, sender)
	}
	to = s.login(2, task, receiver)
	if !senderFirst {
		to.silent() // alone
		from = s.login(1, task, sender)
	}
	to.expect(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_PEER_READY, task, 1))
	return from, to
}

// block carries one block from one side to the other.
func carry(from, to *client, task string, seq uint16, file []byte, offset int) int {
	n := min(segment, len(file)-offset)
	to.send(pdu.CmdFilePullReq, seq, pullOf(task, 77, modeOnline, offset, n))
	from.expect(pdu.CmdFilePullReq, seq, pullOf(task, 2, modeOnline, offset, n))
	from.send(pdu.CmdFilePullRes, 99, blockOf(task, 77, offset, file[offset:offset+n]))
	to.expect(pdu.CmdFilePullRes, seq, blockOf(task, 1, offset, file[offset:offset+n]))
	return offset + n
}

// [TT-FILE-9]: both orders of arrival; the users named are those who logged in.
func TestOnline(t *testing.T) {
	for name, senderFirst := range map[string]bool{"sender first": true, "receiver first": false} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				file := content(3*segment + 4219)
				task := s.offer(len(file), true)
				from, to := s.ready(task, senderFirst)
				seq := uint16(3)
				for at := 0; at < len(file); seq++ {
					at = carry(from, to, task, seq, file, at)
				}
				to.send(pdu.CmdFileState, seq, state(pb.ClientFileState_CLIENT_FILE_DONE, task, 1))
				from.expect(pdu.CmdFileState, seq, state(pb.ClientFileState_CLIENT_FILE_DONE, task, 2))
				from.ends()
				to.ends()
				s.connect(0).login(1, task, sender, 1) // it is over
			})
		})
	}
}

// [TT-FILE-9]: refused by the receiver, cancelled by the sender.
func TestOnlineGivenUp(t *testing.T) {
	for name, says := range map[string]struct {
		side  side
		state pb.ClientFileState
	}{
		"refused":              {receiving, pb.ClientFileState_CLIENT_FILE_REFUSE},
		"cancelled by sender":  {sending, pb.ClientFileState_CLIENT_FILE_CANCEL},
		"cancelled by the one": {receiving, pb.ClientFileState_CLIENT_FILE_CANCEL},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				task := s.offer(100, true)
				from, to := s.ready(task, true)
				who, other, u := from, to, protocol.UserID(1)
				if says.side == receiving {
					who, other, u = to, from, 2
				}
				who.send(pdu.CmdFileState, 9, state(says.state, task, 77))
				other.expect(pdu.CmdFileState, 9, state(says.state, task, u))
				who.ends()
				other.ends()
				s.connect(0).login(2, task, receiver, 1)
			})
		})
	}
	t.Run("refused before the sender comes", func(t *testing.T) {
		play(t, Limits{}, func(s *stage) {
			task := s.offer(100, true)
			to := s.login(2, task, receiver)
			to.send(pdu.CmdFileState, 9, state(pb.ClientFileState_CLIENT_FILE_REFUSE, task, 2))
			to.ends()
			s.connect(0).login(1, task, sender, 1)
		})
	})
}

// [TT-FILE-8] [TT-DIFF-31]: when a connection breaks the other one is closed, and both may come back, the receiver pulling where it was.
func TestOnlineResumed(t *testing.T) {
	for name, broken := range map[string]side{"the sender's breaks": sending, "the receiver's breaks": receiving} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				file := content(3 * segment)
				task := s.offer(len(file), true)
				from, to := s.ready(task, true)
				at := carry(from, to, task, 3, file, 0)
				to.send(pdu.CmdFilePullReq, 4, pullOf(task, 2, modeOnline, at, segment)) // never answered
				from.expect(pdu.CmdFilePullReq, 4, pullOf(task, 2, modeOnline, at, segment))
				if broken == sending {
					from.close()
					to.ends()
				} else {
					to.close()
					from.ends()
				}
				synctest.Wait()
				s.pass(time.Minute)
				from, to = s.ready(task, broken == sending)
				for at < len(file) {
					at = carry(from, to, task, 5, file, at)
				}
				to.send(pdu.CmdFileState, 6, state(pb.ClientFileState_CLIENT_FILE_DONE, task, 2))
				from.expect(pdu.CmdFileState, 6, state(pb.ClientFileState_CLIENT_FILE_DONE, task, 2))
				from.ends()
				to.ends()
			})
		})
	}
}

// [TT-FILE-8]: one side comes back before its broken connection was noticed. The other one stays; the sender is asked again for what it has not answered, and
// answers for a receiver that has gone are nobody's.
func TestOnlineReplaced(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		file := content(3 * segment)
		task := s.offer(len(file), true)
		from, to := s.ready(task, true)
		to.send(pdu.CmdFilePullReq, 3, pullOf(task, 2, modeOnline, 0, segment))
		from.expect(pdu.CmdFilePullReq, 3, pullOf(task, 2, modeOnline, 0, segment))

		again := s.login(1, task, sender)
		from.ends()
		again.expect(pdu.CmdFilePullReq, 3, pullOf(task, 2, modeOnline, 0, segment))

		back := s.login(2, task, receiver)
		to.ends()
		back.expect(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_PEER_READY, task, 1))
		again.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, 0, file[:segment])) // for the one that has gone
		carry(again, back, task, 8, file, segment)
	})
}

// [TT-FILE-7]: others, other roles and other tasks are refused, and do not disturb.
func TestLoginRefused(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		online, offline := s.offer(100, true), s.offer(100, false)
		for _, who := range []struct {
			user protocol.UserID
			task string
			role pb.ClientFileRole
		}{
			{2, online, sender}, {3, online, sender}, {0, online, sender}, {1, online, receiver}, {1, online, uploader}, {1, offline, sender},
			{2, offline, uploader}, {2, offline, downloader}, {1, offline, downloader}, {2, offline, receiver}, {1, "nope", sender}, {1, "", uploader},
			{1, "../../../../etc/passwd", downloader}, {1, online[1:] + "0", sender},
		} {
			c := s.connect(0)
			c.login(who.user, who.task, who.role, 1)
			c.ends()
		}
		s.ready(online, true)
	})
}

// [TT-FILE-9]: what was not asked for, or is of another task, ends the connection; the task can be taken up again.
func TestOnlineProtocol(t *testing.T) {
	file := content(2 * segment)
	for name, wrong := range map[string]func(from, to *client, task string){
		"not asked for": func(from, _ *client, task string) { from.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, 0, file[:9])) },
		"another task":  func(_, to *client, _ string) { to.send(pdu.CmdFilePullReq, 1, pullOf("x", 2, modeOnline, 0, 9)) },
		"beyond the end": func(_, to *client, task string) {
			to.send(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 1<<30, 9))
		},
		"no message":      func(_, to *client, _ string) { to.send(pdu.CmdFilePullReq, 1, loginRes(0, "x")) },
		"another's state": func(_, to *client, _ string) { to.send(pdu.CmdFileState, 1, state(1, "x", 2)) },
		"more than asked for": func(from, to *client, task string) {
			to.send(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 0, 8))
			from.expect(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 0, 8))
			from.send(pdu.CmdFilePullRes, 1, blockOf(task, 1, 0, file[:9]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Limits{}, func(s *stage) {
				task := s.offer(len(file), true)
				from, to := s.ready(task, true)
				wrong(from, to, task)
				from.ends()
				to.ends()
				from, to = s.ready(task, false)
				carry(from, to, task, 5, file, 0)
			})
		})
	}
}

// [TT-FILE-9]: a receiver that takes nothing holds up neither its sender's heartbeats nor another task, and no more of its file is fetched than fits.
func TestStalledReceiver(t *testing.T) {
	play(t, Limits{Bytes: 4 * segment}, func(s *stage) {
		file := content(20 * segment)
		task := s.offer(len(file), true)
		from, to := s.ready(task, true)
		for i := range 10 {
			to.send(pdu.CmdFilePullReq, uint16(i), pullOf(task, 2, modeOnline, i*segment, segment))
		}
		for i := range 4 { // and reads nothing of what it gets
			from.expect(pdu.CmdFilePullReq, uint16(i), pullOf(task, 2, modeOnline, i*segment, segment))
			from.send(pdu.CmdFilePullRes, 0, blockOf(task, 1, i*segment, file[i*segment:(i+1)*segment]))
		}
		from.silent()
		from.send(pdu.CmdHeartbeat, 5, nil)
		from.expect(pdu.CmdHeartbeat, 5, &pb.IMHeartBeat{})

		other := s.offer(len(file), true)
		a, b := s.ready(other, true)
		for at := 0; at < len(file); {
			at = carry(a, b, other, 3, file, at)
		}

		// It reads on, and gets all it asked for.
		got := []byte{}
		for i := range 10 {
			if i >= 4 {
				from.expect(pdu.CmdFilePullReq, uint16(i), pullOf(task, 2, modeOnline, i*segment, segment))
				from.send(pdu.CmdFilePullRes, 0, blockOf(task, 1, i*segment, file[i*segment:(i+1)*segment]))
			}
			to.expect(pdu.CmdFilePullRes, uint16(i), blockOf(task, 1, i*segment, file[i*segment:(i+1)*segment]))
			got = append(got, file[i*segment:(i+1)*segment]...)
		}
		if !bytes.Equal(got, file[:10*segment]) {
			t.Error("another file came")
		}
	})
}

// One that takes nothing for good is given up, and its sender with it.
func TestStalledForGood(t *testing.T) {
	play(t, Limits{}, func(s *stage) {
		file := content(segment)
		task := s.offer(len(file), true)
		from, to := s.ready(task, true)
		to.send(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 0, segment))
		from.expect(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 0, segment))
		from.send(pdu.CmdFilePullRes, 0, blockOf(task, 1, 0, file))
		from.endsOnce()
		<-to.gone
	})
}

// [TT-FILE-9]: a receiver can't have more blocks on their way than there may be.
func TestTooManyPulls(t *testing.T) {
	play(t, Limits{Bytes: segment}, func(s *stage) {
		task := s.offer(1<<30, true)
		from, to := s.ready(task, true)
		for i := range maxPulls + 1 {
			to.send(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, i*segment, segment))
			if i == 0 {
				from.expect(pdu.CmdFilePullReq, 1, pullOf(task, 2, modeOnline, 0, segment))
			}
		}
		to.ends()
		from.ends()
	})
}
