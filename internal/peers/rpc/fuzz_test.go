package rpc

import (
	"bufio"
	"bytes"
	"testing"

	"teamtalk/protocol"
)

// FuzzFrame: no input does harm, and what was read is written the same way again.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameCall, 7, []byte{1, 0, 0, 1, 0}, []byte("payload")))
	f.Add(appendFrame(nil, frameSend, 8, []byte{2}, nil))
	f.Add(appendFrame(nil, frameReply, 9, nil, []byte("answer")))
	f.Add(failedFrame(10, protocol.OutcomeUnknownf("lost")))
	f.Add(appendFrame(nil, framePing, 11, nil, nil))
	f.Add(appendFrame(nil, frameCancel, 12, nil, nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(b)), 1<<20)
		if err != nil {
			return
		}
		var again []byte
		switch got.kind {
		case frameCall:
			again = appendFrame(nil, frameCall, got.id, []byte{got.method, byte(got.waits >> 24), byte(got.waits >> 16), byte(got.waits >> 8), byte(got.waits)}, got.payload)
		case frameSend:
			again = appendFrame(nil, frameSend, got.id, []byte{got.method}, got.payload)
		case frameReply:
			again = appendFrame(nil, frameReply, got.id, nil, got.payload)
		case frameFailed:
			// Flags that are not known yet and the tail of a long message are left out.
			if len(got.failure.Message) > maxMessage || b[14] > flagUnknown {
				return
			}
			again = failedFrame(got.id, got.failure)
		case framePing, framePong, frameCancel:
			again = appendFrame(nil, got.kind, got.id, nil, nil)
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("read from %x, written as %x", b, again)
		}
	})
}

// FuzzHello: no input does harm, and what is taken for a hello makes sense.
func FuzzHello(f *testing.F) {
	b, err := encodeHello(hello())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("TTN1\xff\xff"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil || h.Refused != "" {
			return
		}
		if h.Slots == 0 || h.Largest == 0 || h.Min > h.Max || h.Lane.String() == "" {
			t.Errorf("taken for a hello: %+v", h)
		}
	})
}
