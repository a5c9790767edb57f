package gateway

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/chatpb"
	"teamtalk/protocol/pdu"
)

// Media makes the addresses by which clients send and fetch content over HTTP.
type Media interface {
	// Upload is where a user may send one file of exactly that size.
	Upload(me protocol.UserID, name string, size uint64, contentType string) (MediaAddresses, error)
	// Download is where a user may fetch content, for each path one address.
	Download(me protocol.UserID, paths []string) (MediaAddresses, error)
	// Task is where a user may send (write) or fetch the file of a task.
	Task(me protocol.UserID, task string, write bool) (MediaAddresses, error)
	// Base is what legacy clients are told to put in front of paths, a URL with a slash at its end; empty: there is none.
	Base() string
}

// MediaAddresses are paths from the root of this cluster's HTTP servers.
type MediaAddresses struct {
	URLs     []string
	Expires  time.Duration // from now, when they cease to be good
	MaxBytes uint64        // of an upload; 0: not said
}

// The kinds of MEDIA_REQ [TT-MEDIA-1].
const (
	mediaUpload    = 1
	mediaDownload  = 2
	mediaSendTask  = 3
	mediaFetchTask = 4
)

const mediaPaths = 100 // of one request [TT-MEDIA-1]

// mediaReq is 0x0a08 [TT-MEDIA-1].
func (s *session) mediaReq(h pdu.Header, m *chatpb.MediaReq) error {
	at, err := s.srv.addresses(s.user, m)
	rsp := &chatpb.MediaRsp{Urls: at.URLs, ExpiresS: uint32(at.Expires / time.Second), MaxBytes: at.MaxBytes}
	if err != nil {
		rsp = &chatpb.MediaRsp{Code: uint32(refusalCode(err)), Message: errorText(err), MaxBytes: at.MaxBytes}
	}
	s.answer(h, pdu.CmdMediaRsp, rsp)
	return wasAnswered(err)
}

func (srv *Server) addresses(me protocol.UserID, m *chatpb.MediaReq) (MediaAddresses, error) {
	if srv.media == nil {
		return MediaAddresses{}, protocol.Errorf(protocol.CodeUnavailable, "this server keeps no files")
	}
	switch m.GetKind() {
	case mediaUpload:
		return srv.media.Upload(me, m.GetName(), m.GetSize(), m.GetContentType())
	case mediaDownload:
		if n := len(m.GetPaths()); n == 0 || n > mediaPaths {
			return MediaAddresses{}, protocol.Errorf(protocol.CodeInvalid, "%d paths: 1 to %d", n, mediaPaths)
		}
		return srv.media.Download(me, m.GetPaths())
	case mediaSendTask, mediaFetchTask:
		if err := protocol.CheckName("task id", m.GetTaskId(), protocol.MaxTaskID); err != nil {
			return MediaAddresses{}, err
		}
		return srv.media.Task(me, m.GetTaskId(), m.GetKind() == mediaSendTask)
	}
	return MediaAddresses{}, protocol.Errorf(protocol.CodeInvalid, "kind %d: 1 uploads, 2 downloads, 3 and 4 are for tasks", m.GetKind())
}

// capabilityPlays begins a capability that says which type of sound or film a client plays [TT-MEDIA-4].
const capabilityPlays = "plays="

// playable are the types that a client says it plays.
func playable(capabilities []string) []string {
	var types []string
	for _, c := range capabilities {
		if t, ok := strings.CutPrefix(c, capabilityPlays); ok {
			types = append(types, plainType(t))
		}
	}
	return types
}

// plainType is a type in the form in which types are compared: parameters count, spaces and case do not.
func plainType(t string) string { return strings.ToLower(strings.ReplaceAll(t, " ", "")) }

// mayPlay reports whether an extended session is told a type: of sounds and films only those that it plays, so that it shows the text with the link
// otherwise [TT-MEDIA-4].
func (s *session) mayPlay(contentType string) bool {
	t := plainType(contentType)
	return !strings.HasPrefix(t, "audio/") && !strings.HasPrefix(t, "video/") || slices.Contains(s.ext.plays, t)
}

// told is what of a message's extras an extended session is told.
func (s *session) told(x protocol.Extras) protocol.Extras {
	if !s.mayPlay(x.ContentType) {
		x.ContentType = ""
	}
	return x
}

// messageFrames is 0x0301 of one message, each made once and only if somebody gets it.
type messageFrames struct {
	legacy, full, untyped []byte
}

// of is the frame for a session.
func (f *messageFrames) of(s *session, m *protocol.Message) []byte {
	frame := &f.full
	switch {
	case s.ext == nil:
		frame = &f.legacy
	case !s.mayPlay(m.Extras.ContentType):
		frame = &f.untyped
	}
	if *frame != nil {
		return *frame
	}
	if s.ext == nil {
		shown := s.srv.texts.legacy(*m)
		*frame = s.srv.appendPush(nil, pdu.CmdMsgData, msgData(&shown))
	} else {
		*frame = s.srv.appendPush(nil, pdu.CmdMsgData, s.extendedMsgData(m))
	}
	return *frame
}

// mediaURL is the URL of content in a text.
const mediaURL = `https?://(?:\[[0-9A-Fa-f:.]+\])?[^\s<>"'{}\[\]]*?/(g0/\d{3}/\d{3}/[0-9a-f]{64}(?:_\d{1,4}x\d{1,4})?\.[0-9A-Za-z]{1,8})`

// localURLs changes where content is fetched from.
type localURLs struct {
	pattern *regexp.Regexp
	base    func() string // nil: nothing is changed
}

func newLocalURLs(m Media) localURLs {
	if m == nil {
		return localURLs{}
	}
	return localURLs{pattern: regexp.MustCompile(mediaURL), base: m.Base}
}

// of is a text with the URLs of content changed to those of this node, and whether there are any.
func (l *localURLs) of(text string) (string, bool) {
	if l.base == nil || !strings.Contains(text, "g0/") {
		return text, false
	}
	base := l.base()
	if base == "" {
		return text, false
	}
	changed := l.pattern.ReplaceAllStringFunc(text, func(url string) string { return base + url[strings.LastIndex(url, "g0/"):] })
	return changed, changed != text
}

// here is a message of another office for legacy sessions: its pictures and files are fetched from this node, which gets them from there. Their clients
// fetch whatever URL they find, and the other office lets strangers fetch nothing [TT-MEDIA-9].
func (p *placeholders) here(m protocol.Message) protocol.Message {
	if m.From < protocol.MaxLocalID || m.Type.IsAudio() || m.Deleted != 0 || p.urls.base == nil {
		return m
	}
	text, err := p.cipher.Decrypt(m.Data)
	if err != nil {
		return m
	}
	if text, changed := p.urls.of(text); changed {
		m.Data = p.cipher.Encrypt(text)
	}
	return m
}

// person is a directory entry for legacy sessions; pictures of people of other offices are fetched from this node as well [TT-MEDIA-9].
func (p *placeholders) person(u protocol.User) *pb.UserInfo {
	if u.ID >= protocol.MaxLocalID {
		u.Avatar, _ = p.urls.of(u.Avatar)
	}
	return userToWire(u)
}

// HomeOf reports whether somebody is logged in on this node from an address, and who if all sessions from there are one user's; else 0 [TT-MSFS-6].
func (srv *Server) HomeOf(a netip.Addr) (of protocol.UserID, is bool) {
	if !a.IsValid() {
		return 0, false
	}
	r := srv.sessions
	r.mu.RLock()
	defer r.mu.RUnlock()
	h := r.homes[transport.PlaceOf(a)]
	return h.user, h.sessions > 0
}

// home is a place from which sessions have logged in.
type home struct {
	sessions int32
	user     protocol.UserID // whose they are; 0: of several users, until all have gone
}

// arrivedLocked counts a session at the place it comes from.
func (r *registry) arrivedLocked(s *session) {
	place := transport.PlaceOf(s.addr)
	h := r.homes[place]
	switch {
	case h.sessions == 0:
		h.user = s.user
	case h.user != s.user:
		h.user = 0
	}
	h.sessions++
	r.homes[place] = h
}

// departedLocked is called for each session that arrivedLocked was called for.
func (r *registry) departedLocked(s *session) {
	place := transport.PlaceOf(s.addr)
	h := r.homes[place]
	if h.sessions--; h.sessions <= 0 {
		delete(r.homes, place)
		return
	}
	r.homes[place] = h
}
