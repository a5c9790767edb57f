package service

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"teamtalk/protocol"
)

// A resume token [TT-SESS-6]:
//
//	version 1 | cluster 16 | history 16 | user 4 | client type 1 | epoch 8 | expires 8 | length 1 | device id | MAC 32
//
// with the MAC over all before it. It says nothing that its owner may not know; clients must not look into it, as its form
// may change.
const (
	tokenVersion  = 1
	tokenFixedLen = 55
)

// token is what a resume token says.
type token struct {
	cluster, history [16]byte
	device           protocol.Device
	epoch            protocol.Epoch
	expires          int64 // seconds since 1970; then it is good no more
}

// seal makes the token's bytes; the device id has at most protocol.MaxDeviceID of them.
func (t *token) seal(key []byte) []byte {
	b := make([]byte, 0, tokenFixedLen+len(t.device.ID)+sha256.Size)
	b = append(b, tokenVersion)
	b = append(b, t.cluster[:]...)
	b = append(b, t.history[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.device.User))
	b = append(b, byte(t.device.Client))
	b = binary.BigEndian.AppendUint64(b, uint64(t.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(t.expires))
	b = append(b, byte(len(t.device.ID)))
	b = append(b, t.device.ID...)
	return append(b, authenticate(key, b)...)
}

func authenticate(key, b []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(b) // never fails
	return mac.Sum(nil)
}

// openToken reads a token that was sealed with the key; false for everything else. Nothing is looked at before the MAC.
func openToken(b, key []byte) (t token, ok bool) {
	n := len(b) - sha256.Size
	if n < tokenFixedLen || n > tokenFixedLen+protocol.MaxDeviceID || !hmac.Equal(b[n:], authenticate(key, b[:n])) {
		return t, false
	}
	return parseToken(b[:n])
}

// parseToken reads what is before the MAC.
func parseToken(b []byte) (t token, ok bool) {
	if len(b) < tokenFixedLen || b[0] != tokenVersion || len(b) != tokenFixedLen+int(b[54]) {
		return t, false
	}
	copy(t.cluster[:], b[1:])
	copy(t.history[:], b[17:])
	t.device.User = protocol.UserID(binary.BigEndian.Uint32(b[33:]))
	t.device.Client = protocol.ClientType(b[37])
	t.epoch = protocol.Epoch(binary.BigEndian.Uint64(b[38:]))
	t.expires = int64(binary.BigEndian.Uint64(b[46:]))
	t.device.ID = protocol.DeviceID(b[tokenFixedLen:])
	return t, true
}
