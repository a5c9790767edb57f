package msfs

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"
	"time"

	"teamtalk/protocol"
)

// Where content is sent to and fetched from.
const (
	UploadPath   = "/media/up/"   // and a ticket
	DownloadPath = "/msfs/"       // and the path of a blob
	TaskPath     = "/media/task/" // and the id of a task
)

// For how long tickets are good [TT-MEDIA-2].
const (
	uploadLife = 12 * time.Hour
	// A download's ticket is good for one to two hours: it ends at a full hour, so that one address serves a picture for a while, and caches know it.
	downloadLife = time.Hour
	taskLife     = 12 * time.Hour
)

const (
	maxName   = 255 // bytes of a file's name
	maxType   = 128 // bytes of a content type
	macSize   = 16  // bytes
	nonceSize = 16  // bytes
)

// Tickets makes and checks the addresses that let one user do one thing over HTTP for a while. Any node with the key can check them [TT-MEDIA-2].
type Tickets struct {
	key []byte
}

// NewTickets makes tickets with a key of the cluster.
func NewTickets(key []byte) *Tickets { return &Tickets{key: key} }

// UploadTicket is what an upload's address says.
type UploadTicket struct {
	ID      [nonceSize]byte // tells uploads apart
	User    protocol.UserID
	Size    uint64 // bytes, exactly
	Expires time.Time
	Name    string // of the file, without a folder
	Type    string // of the content, as the client has it
}

// Upload is the path, from the server's root, to which a user may send one file of exactly that size.
func (t *Tickets) Upload(u protocol.UserID, name string, size uint64, contentType string, now time.Time) (path string, expires time.Time, err error) {
	if err := checkUpload(name, contentType); err != nil {
		return "", expires, err
	}
	k := UploadTicket{User: u, Size: size, Expires: now.Add(uploadLife), Name: name, Type: contentType}
	_, _ = rand.Read(k.ID[:]) // never fails
	body := k.encode()
	return UploadPath + base64.RawURLEncoding.EncodeToString(append(body, t.mac("upload", body)...)), k.Expires, nil
}

// CheckUpload reads what follows UploadPath. CodeForbidden: it is none of ours, or has expired.
func (t *Tickets) CheckUpload(ticket string, now time.Time) (UploadTicket, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil || len(b) < macSize {
		return UploadTicket{}, errForged
	}
	body, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	if !hmac.Equal(mac, t.mac("upload", body)) {
		return UploadTicket{}, errForged
	}
	k, ok := decodeUpload(body)
	switch {
	case !ok:
		return UploadTicket{}, errForged
	case !now.Before(k.Expires):
		return UploadTicket{}, errExpired
	}
	return k, nil
}

// Download is the path, from the server's root, from which a user may fetch a blob in any size. The path given may have a size at its end, as in
// `g0/…/….png_100x100.jpg`.
func (t *Tickets) Download(u protocol.UserID, path string, now time.Time) (url string, expires time.Time, err error) {
	a, err := parseAsked(path)
	if err != nil {
		return "", expires, err
	}
	expires = downloadEnd(now)
	return DownloadPath + path + "?" + t.sign(u, expires, "download", a.ID[:]).Encode(), expires, nil
}

// CheckDownload says whom an address of a blob was made for. CodeForbidden: for nobody, or it has expired.
func (t *Tickets) CheckDownload(id protocol.BlobID, q url.Values, now time.Time) (protocol.UserID, error) {
	return t.check(q, now, "download", id[:])
}

// Task is the path, from the server's root, to which (write) or from which a user may send or fetch the file of a task.
func (t *Tickets) Task(u protocol.UserID, task string, write bool, now time.Time) (path string, expires time.Time) {
	expires = now.Add(taskLife)
	return TaskPath + url.PathEscape(task) + "?" + t.sign(u, expires, taskPurpose(write), []byte(task)).Encode(), expires
}

// CheckTask says whom the address of a task's file was made for. CodeForbidden: for nobody, or it has expired.
func (t *Tickets) CheckTask(task string, write bool, q url.Values, now time.Time) (protocol.UserID, error) {
	return t.check(q, now, taskPurpose(write), []byte(task))
}

func taskPurpose(write bool) string {
	if write {
		return "send a file"
	}
	return "fetch a file"
}

func downloadEnd(now time.Time) time.Time { return now.Add(2 * downloadLife).Truncate(downloadLife) }

var (
	errForged  = protocol.Errorf(protocol.CodeForbidden, "this address was not made by this server")
	errExpired = protocol.Errorf(protocol.CodeForbidden, "this address has expired: ask for another one")
)

// sign makes the query of an address: who, until when, and the proof of both for one subject.
func (t *Tickets) sign(u protocol.UserID, expires time.Time, purpose string, subject []byte) url.Values {
	q := url.Values{"u": {strconv.FormatUint(uint64(u), 10)}, "e": {strconv.FormatInt(expires.Unix(), 10)}}
	q.Set("s", base64.RawURLEncoding.EncodeToString(t.mac(purpose, []byte(q.Get("u")+" "+q.Get("e")+" "), subject)))
	return q
}

func (t *Tickets) check(q url.Values, now time.Time, purpose string, subject []byte) (protocol.UserID, error) {
	mac, err := base64.RawURLEncoding.Strict().DecodeString(q.Get("s"))
	if err != nil || !hmac.Equal(mac, t.mac(purpose, []byte(q.Get("u")+" "+q.Get("e")+" "), subject)) {
		return 0, errForged
	}
	u, err := strconv.ParseUint(q.Get("u"), 10, 32) // what is signed was written by sign; the rest is for the compiler
	if err != nil {
		return 0, errForged
	}
	expires, err := strconv.ParseInt(q.Get("e"), 10, 64)
	if err != nil {
		return 0, errForged
	}
	if now.Unix() >= expires {
		return 0, errExpired
	}
	return protocol.UserID(u), nil
}

func (t *Tickets) mac(purpose string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, t.key)
	_, _ = h.Write([]byte(purpose + "\x00"))
	for _, p := range parts {
		_, _ = h.Write(p)
	}
	return h.Sum(nil)[:macSize]
}

// uploadHead is the part of an encoded upload ticket that has a fixed size: id, user, size, expiry (unix seconds), length of the name.
const uploadHead = nonceSize + 4 + 8 + 8 + 1

func (k *UploadTicket) encode() []byte {
	b := make([]byte, 0, uploadHead+len(k.Name)+len(k.Type)+macSize)
	b = append(b, k.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(k.User))
	b = binary.BigEndian.AppendUint64(b, k.Size)
	b = binary.BigEndian.AppendUint64(b, uint64(k.Expires.Unix()))
	b = append(b, byte(len(k.Name)))
	return append(append(b, k.Name...), k.Type...)
}

func decodeUpload(b []byte) (k UploadTicket, ok bool) {
	if len(b) < uploadHead {
		return k, false
	}
	copy(k.ID[:], b)
	at := b[nonceSize:]
	k.User, k.Size = protocol.UserID(binary.BigEndian.Uint32(at)), binary.BigEndian.Uint64(at[4:])
	k.Expires = time.Unix(int64(binary.BigEndian.Uint64(at[12:])), 0)
	rest, n := b[uploadHead:], int(at[20])
	if len(rest) < n {
		return k, false
	}
	k.Name, k.Type = string(rest[:n]), string(rest[n:])
	return k, checkUpload(k.Name, k.Type) == nil
}

// checkUpload refuses names and types that can't be.
func checkUpload(name, contentType string) error {
	if err := checkFileName(name); err != nil {
		return err
	}
	return protocol.CheckLine("content type", contentType, maxType)
}

// checkFileName refuses what would be more than a name on somebody's disk [TT-MSFS-8].
func checkFileName(name string) error {
	if err := protocol.CheckName("file name", name, maxName); err != nil {
		return err
	}
	if strings.ContainsAny(name, `/\`) || strings.Trim(name, ". ") == "" {
		return protocol.Errorf(protocol.CodeInvalid, "%q is not a file name: it must have no folder and no control characters", name)
	}
	return nil
}
