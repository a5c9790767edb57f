package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol/pdu"
)

const chat = `
# two people
login a user1 windows
login b user2 mac

a > CID_MSG_DATA seq=7 { from_user_id: 1 to_session_id: 2 msg_id: 0 create_time: 0
      msg_type: MSG_TYPE_SINGLE_TEXT msg_data: "h\x69" @repeat("!", 3) }
a < CID_MSG_DATA_ACK seq=7 { user_id: 1 session_id: 2 msg_id: $m session_type: SESSION_TYPE_SINGLE }
b < CID_MSG_DATA seq=0 { msg_id: $m create_time: * msg_data: "hi!!!" ... }
`

func play(t *testing.T, text string) (*Runner, error) {
	t.Helper()
	s, err := ParseScript("test", text)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner(t, t.TempDir(), false)
	r.wait = 300 * time.Millisecond
	r.UseServer(startFake(t))
	err = r.Run(s)
	return r, err
}

func TestScriptsThatComeTrue(t *testing.T) {
	for name, text := range map[string]string{
		"chat":       chat,
		"variables":  chat + "b > CID_MSG_DATA seq=$m { from_user_id: 2 to_session_id: 1 msg_id: $m create_time: 0 msg_type: 1 msg_data: @hex(00ff) }\na < CID_MSG_DATA seq=0 { msg_data: \"\\x00\\xff\" ... }\nb < CID_MSG_DATA_ACK seq=1 { ... }",
		"heartbeat":  "connect a\na > CID_OTHER_HEARTBEAT seq=3 version=9 service=0xffff body=ff\na < CID_OTHER_HEARTBEAT seq=3 version=9 service=0xffff body=ff",
		"raw bytes":  "connect a\na > hex 00000010 0001 0000 0007\na < nothing\na > hex 0701 0005 0000\na < CID_OTHER_HEARTBEAT seq=5",
		"closed":     "login a user1 windows\na > CID_LOGIN_REQ_LOGINOUT seq=1\na < CID_LOGIN_RES_LOGINOUT seq=1 { result_code: 0 }\na < closed",
		"ignore":     "ignore CID_MSG_DATA\n" + strings.Replace(chat, "b <", "- b <", 1) + "# end",
		"not parsed": "connect a\na > CID_MSG_DATA seq=1 body=ff\na < nothing",
		"reconnect":  "connect a\nclose a\nconnect a\na < nothing",
	} {
		t.Run(name, func(t *testing.T) {
			if name == "ignore" {
				text = strings.Replace(text, "... }", "... } # [TT-MSG-5]", 1)
			}
			if _, err := play(t, text); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestScriptsThatDoNot(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"another value":      {strings.Replace(chat, "hi!!!", "ho", 1), `9: b CID_MSG_DATA differs`},
		"another variable":   {chat + "a > CID_MSG_DATA seq=8 { from_user_id: 1 to_session_id: 2 msg_id: 0 create_time: 0 msg_type: 1 msg_data: \"x\" }\na < CID_MSG_DATA_ACK seq=8 { msg_id: $m ... }\nb < CID_MSG_DATA seq=0 { ... }", "msg_id: want $m = 1, got 2"},
		"another seq":        {strings.Replace(chat, "a < CID_MSG_DATA_ACK seq=7", "a < CID_MSG_DATA_ACK seq=0", 1), "seq: want 0, got 7"},
		"a field too many":   {strings.Replace(chat, "...", "", 1), "from_user_id: want 0 × [], got 1 × [1]"},
		"a field too few":    {strings.Replace(chat, "msg_data: \"hi", "attach_data: \"x\" msg_data: \"hi", 1), "attach_data: want 1"},
		"not expected":       {strings.Replace(chat, "b <", "# b <", 1), "b got something that is not expected: CID_MSG_DATA seq=0 {"},
		"never comes":        {chat + "b < CID_MSG_READ_NOTIFY seq=0 { ... }\n", "it didn't come"},
		"closed by surprise": {"login a user1 windows\na > CID_LOGIN_REQ_LOGINOUT seq=1\na < CID_LOGIN_RES_LOGINOUT seq=1 { result_code: 0 }\na < nothing\nlogin b user2 mac\nb < nothing", "a was closed by the server"},
		"unbound":            {"connect a\na > CID_OTHER_HEARTBEAT seq=$x", "$x is not bound"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := play(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q is not in: %v", c.want, err)
			}
		})
	}
}

func TestScriptsThatMakeNoSense(t *testing.T) {
	for text, want := range map[string]string{
		"- a < closed":                   "cites the difference",
		"+ a < closed # not [TT-DIFF]":   "cites the difference",
		"frobnicate":                     "what is",
		"a > CID_MSG_DATA seq=x":         "invalid syntax",
		"a > CID_MSG_DATA colour=1":      "unknown attribute",
		"a < X { user_id 1 }\nb < Y { x": "}",
		"a < X { data: \"abc }":          "string without end",
		"a < X { data: @nothing(1) }":    "there is no @nothing",
		"connect":                        "needs",
		"a > hex 0":                      "odd length",
	} {
		if _, err := ParseScript("test", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q is not in: %v", text, want, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	text := "# head\nconnect a\nlogin b user2 mac\n\n" +
		"a > CID_MSG_DATA seq=7 { from_user_id: 1 to_session_id: 2 msg_id: 0 create_time: 0 msg_type: 1 msg_data: \"x\" }\n" +
		"a < CID_MSG_DATA_ACK seq=7 { user_id: 9 session_id: 2 msg_id: $m session_type: SESSION_TYPE_SINGLE }  # why\n" +
		"a < CID_MSG_READ_NOTIFY seq=0 { ... }\n" + "# tail\n"
	for name, c := range map[string]struct{ head, want string }{
		"plain": {"", "a < CID_MSG_DATA_ACK seq=7 { user_id: 1 session_id: 2 msg_id: $m session_type: SESSION_TYPE_SINGLE }  # why\n" +
			"b < CID_MSG_DATA seq=0 { from_user_id: 1 to_session_id: 2 msg_id: 1 create_time: * msg_type: MSG_TYPE_SINGLE_TEXT msg_data: \"x\" }\n# tail\n"},
		"recorded": {"recorded\n", "- a < CID_MSG_DATA_ACK seq=7 { user_id: 9 session_id: 2 msg_id: $m session_type: SESSION_TYPE_SINGLE }  # why  # [TT-DIFF-?]\n" +
			"+ a < CID_MSG_DATA_ACK seq=7 { user_id: 1 session_id: 2 msg_id: $m session_type: SESSION_TYPE_SINGLE }  # [TT-DIFF-?]\n" +
			"- a < CID_MSG_READ_NOTIFY seq=0 { ... }  # [TT-DIFF-?]\n" +
			"+ b < CID_MSG_DATA seq=0 { from_user_id: 1 to_session_id: 2 msg_id: 1 create_time: * msg_type: MSG_TYPE_SINGLE_TEXT msg_data: \"x\" }  # [TT-DIFF-?]\n# tail\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseScript("test", c.head+text)
			if err != nil {
				t.Fatal(err)
			}
			r := NewRunner(t, t.TempDir(), true)
			r.wait = 300 * time.Millisecond
			r.UseServer(startFake(t))
			if err := r.Run(s); err != nil {
				t.Fatal(err)
			}
			if got := s.Text(); !strings.HasSuffix(got, c.want) {
				t.Errorf("got\n%s\nwant at its end\n%s", got, c.want)
			}
		})
	}
}

func TestQuoteAndBack(t *testing.T) {
	for _, text := range []string{"", "x", `a "b" \c`, "é成功\n\x00\xff", strings.Repeat("a", 4096), "\x00\x00\x00\x05" + strings.Repeat("SPEEX", 40), strings.Repeat("0123456789abcdef", 90) + "tail"} {
		p, err := ParsePattern("msg_data: " + quote(text))
		if err != nil {
			t.Fatalf("%q: %v", quote(text), err)
		}
		if got := p.Fields[0].Value.text; got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		if len(quote(text)) > 400 {
			t.Errorf("%d bytes for %.40q", len(quote(text)), text)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add(chat)
	f.Add("a < X { y: @repeat(\"a\", 3) z: $v { } }")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript("fuzz", text)
		if err == nil && strings.TrimRight(s.Text(), "\n") != strings.TrimRight(text, "\n") {
			t.Errorf("%q became %q", text, s.Text())
		}
	})
}

func TestStreamFollowsFrames(t *testing.T) {
	frame, err := Frame(pdu.CmdHeartbeat, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range frame {
		var s stream
		s.sent(frame[:n])
		if s.aligned() != (n == 0) {
			t.Errorf("after %d bytes: aligned = %t", n, s.aligned())
		}
		s.sent(frame[n:])
		s.sent(bytes.Repeat(frame, 2))
		if !s.aligned() {
			t.Errorf("cut at %d: not aligned at the end", n)
		}
	}
}
