package bus

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"teamtalk/protocol"
)

// samplePayload holds one item of every kind, and what it is to be read as.
func samplePayload(t testing.TB) (payload []byte, items []any) {
	t.Helper()
	payload, err := newPayload(42)
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []protocol.Signal{
		protocol.PresenceChanged{User: 1, Online: true},
		protocol.PresenceChanged{User: 1},
		protocol.P2PSent{From: 1, To: 2, Data: "\xff\x00", Origin: 3},
		protocol.Delivered{User: 1, Conversation: protocol.Conversation{Type: protocol.SessionGroup, A: 5}, UpTo: 9, Authors: []protocol.UserID{1, 2}},
		protocol.FileOffered{From: 1, To: 2, TaskID: "t", Name: "C:/文件", Size: 1<<32 - 1, Online: true, Addresses: []protocol.FileAddress{{Host: "::1", Port: 8600}, {Host: "h", Port: 1}}},
		protocol.FileOffered{From: 1, To: 2},
	} {
		item, err := encodeSignal(sig)
		if err != nil {
			t.Fatal(err)
		}
		payload, items = append(payload, item...), append(items, sig)
	}
	s := wireSession{User: 1, Conn: 2, Client: protocol.ClientWeb, Device: []byte("device"), Since: 3, Idle: 4}
	for _, c := range []change{{Number: 1, Session: s, kind: kindJoined}, {Number: 2, Session: s, kind: kindTouched}, {Number: 3, Session: s, kind: kindLeft}} {
		if payload, err = appendItem(payload, c.kind, c); err != nil {
			t.Fatal(err)
		}
		items = append(items, c)
	}
	part := tablePart{Number: 3, Part: 1, IsLast: true, Sessions: []wireSession{s, s}}
	for _, last := range []struct {
		k    kind
		item any
	}{{kindTable, part}, {kindAsk, ask{}}, {kindTick, tick{Number: 3}}} {
		if payload, err = appendItem(payload, last.k, last.item); err != nil {
			t.Fatal(err)
		}
		items = append(items, last.item)
	}
	return payload, items
}

func TestDecodeWhatWasEncoded(t *testing.T) {
	payload, want := samplePayload(t)
	got, err := decode(payload)
	if err != nil || got.generation != 42 || got.unknown != 0 || !reflect.DeepEqual(got.items, want) {
		t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

// A newer version may say more: in kinds and in fields that this one does not know.
func TestUnknownKindsAndFieldsAreSkipped(t *testing.T) {
	payload, want := samplePayload(t)
	payload, err := appendItem(payload, 99, map[int]any{1: "what", 2: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	payload, err = appendItem(payload, kindTick, map[int]uint64{1: 7, 9: 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(payload)
	if err != nil || got.unknown != 1 || !reflect.DeepEqual(got.items, append(want, tick{Number: 7})) {
		t.Fatalf("%v, %+v", err, got)
	}
}

func TestRefused(t *testing.T) {
	good, _ := samplePayload(t)
	item := func(k kind, v any) []byte {
		payload, err := newPayload(1)
		if err == nil {
			payload, err = appendItem(payload, k, v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return payload
	}
	other, err := appendCBOR(nil, header{Version: 2, Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		payload []byte
		want    error
	}{
		"empty":               {nil, errMalformed},
		"other version":       {other, errVersion},
		"no generation":       {item(kindTick, tick{})[:1], errMalformed},
		"cut off":             {good[:len(good)-1], errMalformed},
		"trailing":            {append(bytes.Clone(good), 1), errMalformed},
		"session of nobody":   {item(kindJoined, change{Number: 1, Session: wireSession{Conn: 1}}), errMalformed},
		"session without id":  {item(kindLeft, change{Number: 1, Session: wireSession{User: 1}}), errMalformed},
		"device id too long":  {item(kindTable, tablePart{Sessions: []wireSession{{User: 1, Conn: 1, Device: []byte(strings.Repeat("x", 65))}}}), errMalformed},
		"text for a number":   {item(kindTick, map[int]string{1: "x"}), errMalformed},
		"kind is not a small": {append(item(kindTick, tick{}), 0x19, 0xff, 0xff, 0xa0), errMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got, err := decode(c.payload); !errors.Is(err, c.want) {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

// Whatever a node receives: it does not panic, what it knows of itself stays, and what was understood is understood again when written anew.
func FuzzReceive(f *testing.F) {
	good, _ := samplePayload(f)
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte{0xa2, 1, 1, 2, 1, 0x15, 0xa1, 1, 2})
	f.Fuzz(func(t *testing.T, payload []byte) {
		b := New(Config{Node: "a"})
		b.Presence().Join(pc(anna, 1))
		b.Link("b", true)
		b.Receive("b", payload)
		b.Receive("b", payload)
		if own, _ := b.Presence().table(); len(own) != 1 || own[0].User != anna {
			t.Fatalf("own sessions: %+v", own)
		}
		held := 0
		for _, who := range b.presence.users {
			held += len(who.sessions)
		}
		if m := b.presence.remote["b"]; m != nil && held != 1+m.sessions || m == nil && held != 1 {
			t.Fatalf("%d sessions held, %+v", held, m)
		}
		p, err := decode(payload)
		if err != nil {
			return
		}
		for _, item := range p.items {
			sig, ok := item.(protocol.Signal)
			if !ok {
				continue
			}
			again, err := encodeSignal(sig)
			if err != nil {
				t.Fatal(err)
			}
			h, err := newPayload(1)
			if err != nil {
				t.Fatal(err)
			}
			if q, err := decode(append(h, again...)); err != nil || len(q.items) != 1 || !reflect.DeepEqual(normal(q.items[0]), normal(sig)) {
				t.Fatalf("%+v became %+v, %v", sig, q.items, err)
			}
		}
	})
}

// normal makes an empty list none.
func normal(v any) any {
	if d, ok := v.(protocol.Delivered); ok && len(d.Authors) == 0 {
		d.Authors = nil
		return d
	}
	if o, ok := v.(protocol.FileOffered); ok && len(o.Addresses) == 0 {
		o.Addresses = nil
		return o
	}
	return v
}
