package client

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"teamtalk/protocol"
)

// Content types of messages whose text is more than a text [TT-MEDIA-3].
const (
	ContentFile  = "application/vnd.teamtalk.file"
	ContentVoice = "audio/webm;codecs=opus"
)

// Attachment is a Picture, a FileLink or a VoiceLink in the text of a message.
type Attachment struct {
	Kind     AttachmentKind
	Path     string // g0/…, for Download
	URL      string // as it stands in the text; it may lead to another office's server, so nothing should be fetched from it
	Name     string // of a file
	Size     string // of a file, for people
	Duration time.Duration
}

// AttachmentKind says what an attachment is.
type AttachmentKind uint8

// Kinds of attachments.
const (
	Picture AttachmentKind = iota + 1
	FileLink
	VoiceLink
)

// Marks around the URL of a picture, as all clients write them [TT-MEDIA-3].
const (
	pictureBegin = "&$#@~^@[{:"
	pictureEnd   = ":}]&$~@#@"
)

// fileText is what clients that know no files show.
const (
	fileForm  = `^\[文件\] (.+) \(([^()]{1,20})\) (\S+)$`
	voiceForm = `^\[语音\] (\d{1,5})″ (\S+)$`
)

// Attachments are the pictures, the file or the voice that a message shows, in the order of its text; and the text without them.
func (m *Message) Attachments() (list []Attachment, rest string) {
	if a, ok := m.linked(); ok {
		return []Attachment{a}, ""
	}
	var text strings.Builder
	for left := m.Text; ; {
		before, after, found := strings.Cut(left, pictureBegin)
		address, behind, closed := strings.Cut(after, pictureEnd)
		if !found || !closed {
			text.WriteString(left)
			return list, text.String()
		}
		text.WriteString(before)
		list = append(list, Attachment{Kind: Picture, URL: address, Path: mediaPath(address)})
		left = behind
	}
}

// Shown is the text for screens that show no pictures: a word stands for each attachment.
func (m *Message) Shown() string {
	list, rest := m.Attachments()
	if len(list) == 0 {
		return m.Text
	}
	words := make([]string, 0, len(list)+1)
	if rest = strings.TrimSpace(rest); rest != "" {
		words = append(words, rest)
	}
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// String is the word for an attachment.
func (a Attachment) String() string {
	switch a.Kind {
	case FileLink:
		return fmt.Sprintf("[file %s, %s]", a.Name, a.Size)
	case VoiceLink:
		return fmt.Sprintf("[voice, %d s]", int(a.Duration.Seconds()))
	default:
		return "[picture]"
	}
}

// FileName is a name to save it under: that of the file, else one made of the path, and never one that leads into another folder.
func (a Attachment) FileName() string {
	name := a.Name
	if name == "" {
		name = a.Path
	}
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if p, err := protocol.ParseBlobPath(a.Path); err == nil && a.Name == "" {
		name = p.ID.String()[:12] + "." + p.Ext
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, name)
	if name = strings.TrimLeft(strings.TrimSpace(name), "."); name == "" {
		return "attachment"
	}
	return name
}

// linked is the file or the voice that the message is.
func (m *Message) linked() (Attachment, bool) {
	switch {
	case m.ContentType == ContentFile:
		if f := regexp.MustCompile(fileForm).FindStringSubmatch(m.Text); f != nil {
			return Attachment{Kind: FileLink, Name: f[1], Size: f[2], URL: f[3], Path: mediaPath(f[3])}, true
		}
	case strings.HasPrefix(m.ContentType, "audio/"):
		if v := regexp.MustCompile(voiceForm).FindStringSubmatch(m.Text); v != nil {
			seconds, _ := strconv.Atoi(v[1]) // digits, few enough
			return Attachment{Kind: VoiceLink, Duration: time.Duration(seconds) * time.Second, URL: v[2], Path: mediaPath(v[2])}, true
		}
	}
	return Attachment{}, false
}

// mediaPath is the path of a blob in a URL; empty: the URL leads elsewhere.
func mediaPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	if i := strings.Index(u.Path, "g0/"); i >= 0 {
		if p, err := protocol.ParseBlobPath(u.Path[i:]); err == nil {
			return p.String()
		}
	}
	return ""
}

// SendPicture uploads a picture and sends it; old clients show it as any other.
func (c *Client) SendPicture(ctx context.Context, in protocol.Session, f File, burnAfter time.Duration) (*Outgoing, error) {
	stored, err := c.Upload(ctx, f)
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, in, Rich{Text: pictureBegin + stored.URL + pictureEnd, BurnAfter: burnAfter})
}

// SendFile uploads a file and sends a message that shows it; old clients show a text with its address.
func (c *Client) SendFile(ctx context.Context, in protocol.Session, f File, burnAfter time.Duration) (*Outgoing, error) {
	name := strings.NewReplacer("\n", " ", "\r", " ").Replace(f.Name)
	stored, err := c.Upload(ctx, f)
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, in, Rich{Text: fmt.Sprintf("[文件] %s (%s) %s", name, sizeForPeople(stored.Size), stored.URL), ContentType: ContentFile, BurnAfter: burnAfter})
}

// sizeForPeople is a size in the unit that leaves few digits.
func sizeForPeople(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB"} {
		if f /= 1000; f < 999.5 || unit == "GB" {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return ""
}
