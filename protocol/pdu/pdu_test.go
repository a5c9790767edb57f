package pdu_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

func textMessage() *pb.IMMsgData {
	return &pb.IMMsgData{
		FromUserId: proto.Uint32(1001), ToSessionId: proto.Uint32(1002), MsgId: proto.Uint32(0), CreateTime: proto.Uint32(1_795_331_235),
		MsgType: pb.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: bytes.Repeat([]byte("nnZSBwfP"), 8),
	}
}

// What the server sends: version 1, flag and reserved 0, the service of the command [TT-FRAME-1].
func TestAppend(t *testing.T) {
	got, err := pdu.Append([]byte{0xee}, pdu.CmdLogoutRes, 0xff01, &pb.IMLogoutRsp{ResultCode: proto.Uint32(0)})
	want := []byte{0xee, 0, 0, 0, 18, 0, 1, 0, 0, 0, 1, 0x01, 0x06, 0xff, 0x01, 0, 0, 8, 0}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
	got, err = pdu.Append(nil, pdu.CmdHeartbeat, 7, nil)
	want = []byte{0, 0, 0, 16, 0, 1, 0, 0, 0, 7, 0x07, 0x01, 0, 7, 0, 0}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("without a message: %x, %v; want %x", got, err, want)
	}
}

// A message that lacks a required field is not sent [TT-FRAME-7], nor one above the limit [TT-FRAME-3].
func TestAppendRefuses(t *testing.T) {
	before := []byte("kept")
	got, err := pdu.Append(before, pdu.CmdDeviceTokenRes, 1, &pb.IMDeviceTokenRsp{})
	if err == nil || !bytes.Equal(got, before) {
		t.Errorf("without the user id: %x, %v", got, err)
	}
	m := textMessage()
	m.MsgData = make([]byte, pdu.MaxLen)
	if got, err = pdu.Append(before, pdu.CmdMsgData, 1, m); !errors.Is(err, pdu.ErrTooLarge) || !bytes.Equal(got, before) {
		t.Errorf("above the limit: %d bytes, %v", len(got), err)
	}
}

func TestParseHeader(t *testing.T) {
	b := []byte{0, 0, 0, 16, 0, 6, 0, 2, 0, 3, 0x03, 0x09, 0xff, 0x02, 0, 0x30}
	want := pdu.Header{Length: 16, Version: 6, Flag: 2, Service: 3, Command: pdu.CmdMsgListReq, Seq: 0xff02, Reserved: 0x30}
	if h, err := pdu.ParseHeader(b); err != nil || h != want {
		t.Errorf("%+v, %v; want %+v", h, err, want)
	}
	if _, err := pdu.ParseHeader(b[:15]); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("15 bytes: %v", err)
	}
	b[3] = 15
	if h, err := pdu.ParseHeader(b); !errors.Is(err, pdu.ErrLength) || h.Length != 15 {
		t.Errorf("length 15: %+v, %v", h, err)
	}
}

func TestHeaderDecodeAllocatesNothing(t *testing.T) {
	b := frame(pdu.CmdMsgData, nil)
	if n := testing.AllocsPerRun(100, func() {
		if h, err := pdu.ParseHeader(b); err != nil || h.Command != pdu.CmdMsgData {
			t.Fatal(h, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a header", n)
	}
}

func TestReadAllocatesTheBodyOnly(t *testing.T) {
	one := frame(pdu.CmdMsgData, make([]byte, 100))
	r := pdu.NewReader(bytes.NewReader(bytes.Repeat(one, 200)))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Read(pdu.MaxLen); err != nil {
			t.Fatal(err)
		}
	}); n != 1 {
		t.Errorf("%v allocations for a PDU", n)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(frame(pdu.CmdHeartbeat, nil))
	f.Add([]byte{0, 0, 0, 15, 0, 1, 0, 0, 0, 7, 7, 1, 0, 0, 0, 0})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := pdu.ParseHeader(b)
		switch {
		case len(b) < pdu.HeaderLen:
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%d bytes: %v", len(b), err)
			}
		case h.Length < pdu.HeaderLen:
			if !errors.Is(err, pdu.ErrLength) {
				t.Fatalf("length %d: %v", h.Length, err)
			}
		case err != nil:
			t.Fatal(err)
		default:
			if got := pdu.AppendRaw(nil, h, nil); !bytes.Equal(got[4:], b[4:pdu.HeaderLen]) {
				t.Fatalf("%x came back as %x", b[:pdu.HeaderLen], got)
			}
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	data := frame(pdu.CmdMsgData, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pdu.ParseHeader(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMsgData(b *testing.B) {
	m := textMessage()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = pdu.Append(buf[:0], pdu.CmdMsgData, 7, m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendNew is an append into a new buffer, as the gateway does it: frames are shared by all who get them.
func BenchmarkAppendNew(b *testing.B) {
	m := textMessage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pdu.Append(nil, pdu.CmdMsgData, 7, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalMsgData(b *testing.B) {
	body, err := proto.Marshal(textMessage())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var m pb.IMMsgData
		if err := pdu.Unmarshal(body, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadMsgData(b *testing.B) {
	one, err := pdu.Append(nil, pdu.CmdMsgData, 7, textMessage())
	if err != nil {
		b.Fatal(err)
	}
	r := pdu.NewReader(&endless{frame: one})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(pdu.MaxLen); err != nil {
			b.Fatal(err)
		}
	}
}

// endless repeats a frame.
type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(dst []byte) (int, error) {
	n := copy(dst, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}
