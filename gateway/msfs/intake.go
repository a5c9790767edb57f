package msfs

import (
	"context"
	"net/http"
	"path"
	"strconv"
	"strings"

	"teamtalk/blobs/picture"
	"teamtalk/protocol"
)

// sniffLen is how many bytes tell what content is.
const sniffLen = 512

// intake is content on its way into the store: cleaned, and looked at as it comes.
type intake struct {
	store Store
	draft Draft
	clean *picture.Cleaner
	head  []byte
	size  uint64 // bytes that came in
}

func newIntake(ctx context.Context, s Store, u protocol.UserID, size uint64) (*intake, error) {
	d, err := s.Begin(ctx, u, size)
	if err != nil {
		return nil, err
	}
	return &intake{store: s, draft: d, clean: picture.NewCleaner(d)}, nil
}

// Write takes the next bytes. After an error the intake can only be aborted.
func (in *intake) Write(p []byte) (int, error) {
	if room := sniffLen - len(in.head); room > 0 {
		in.head = append(in.head, p[:min(room, len(p))]...)
	}
	n, err := in.clean.Write(p)
	in.size += uint64(n)
	return n, err
}

// finish records the content. The context bounds the recording only, which goes on if the client leaves now: it has sent all there is.
func (in *intake) finish(ctx context.Context, owner protocol.UserID, declared string) (protocol.Blob, error) {
	info, err := in.clean.Close()
	if err != nil {
		in.draft.Abort()
		return protocol.Blob{}, err
	}
	b := protocol.Blob{Type: info.Type, Width: info.Width, Height: info.Height, Owner: owner}
	if b.Type == "" {
		b.Type = kindOf(in.head, declared)
	}
	kept, err := in.store.Keep(ctx, in.draft, b)
	if err != nil {
		in.draft.Abort()
	}
	return kept, err
}

func (in *intake) abort() { in.draft.Abort() }

const unknownType = "application/octet-stream"

// kindOf is the type of content that is no picture. What was declared counts where one format is for sound and films alike, and for nothing else: a
// program does not become a picture by its name [TT-MSFS-7] [TT-DIFF-28].
func kindOf(head []byte, declared string) string {
	sniffed, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if strings.HasPrefix(sniffed, "image/") { // it said so and was none
		return unknownType
	}
	declared, _, _ = strings.Cut(strings.ToLower(declared), ";")
	declared = strings.TrimSpace(declared)
	switch {
	case sniffed == "video/webm" && declared == "audio/webm", sniffed == "video/mp4" && declared == "audio/mp4":
		return declared
	case sniffed == "application/ogg" && (declared == "video/ogg" || declared == "audio/ogg"):
		return declared
	case sniffed == "application/ogg":
		return "audio/ogg"
	case sniffed == "audio/wave":
		return "audio/wav"
	}
	return sniffed
}

// isShownInline reports whether a browser may show or play content in its place; everything else is only saved [TT-MSFS-7].
func isShownInline(contentType string) bool {
	switch contentType {
	case "audio/webm", "audio/mp4", "audio/ogg", "audio/mpeg", "audio/wav", "video/webm", "video/mp4", "video/ogg":
		return true
	}
	return picture.IsPicture(contentType)
}

// pathOf is where a blob is found that came in under a file name: of the name the extension stays, and the dimensions that legacy clients put at its end
// [TT-MSFS-2] [TT-DIFF-27].
func pathOf(b *protocol.Blob, name string) protocol.BlobPath {
	p := protocol.BlobPath{ID: b.ID, Ext: extensionOf(b.Type)}
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	if ext = strings.ToLower(strings.TrimPrefix(ext, ".")); isExtension(ext) {
		p.Ext = ext
	}
	if at := strings.LastIndexByte(stem, '_'); at >= 0 {
		p.Width, p.Height, _ = parseSize(stem[at+1:])
	}
	return p
}

// extensionOf is for content whose name has none.
func extensionOf(contentType string) string {
	switch contentType {
	case picture.JPEG:
		return "jpg"
	case "audio/mpeg":
		return "mp3"
	case "text/plain":
		return "txt"
	case picture.PNG, picture.GIF, picture.WebP, picture.BMP, "audio/ogg", "audio/webm", "audio/wav", "audio/mp4", "video/webm", "video/mp4", "application/pdf":
		return contentType[strings.IndexByte(contentType, '/')+1:]
	}
	return "bin"
}

const maxExtension = 8

func isExtension(s string) bool {
	return s != "" && len(s) <= maxExtension && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// parseSize reads 100x200; both have one to four digits.
func parseSize(s string) (w, h uint32, ok bool) {
	a, b, found := strings.Cut(s, "x")
	w, okW := parseSide(a)
	h, okH := parseSide(b)
	if !found || !okW || !okH {
		return 0, 0, false
	}
	return w, h, true
}

func parseSide(s string) (uint32, bool) {
	if s == "" || len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// asked is a path that a client asks for: a blob, perhaps made smaller.
type asked struct {
	protocol.BlobPath
	MaxWidth, MaxHeight uint32 // of a smaller picture; 0: the original
}

// parseAsked reads the path of a blob, perhaps with a size behind it: `g0/….png_100x100.jpg` [TT-MSFS-5].
func parseAsked(s string) (a asked, err error) {
	if p, err := protocol.ParseBlobPath(s); err == nil {
		return asked{BlobPath: p}, nil
	}
	at := strings.LastIndexByte(s, '_')
	if at < 0 {
		return a, errNoPath
	}
	size, ext, found := strings.Cut(s[at+1:], ".")
	w, h, ok := parseSize(size)
	if !found || !ok || !isExtension(strings.ToLower(ext)) {
		return a, errNoPath
	}
	p, err := protocol.ParseBlobPath(s[:at])
	if err != nil {
		return a, errNoPath
	}
	return asked{p, w, h}, nil
}

var errNoPath = protocol.Errorf(protocol.CodeNotFound, "no content has such a path")
