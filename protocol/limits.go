package protocol

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is stored, in bytes unless told otherwise. The state machine enforces them, so they are part of what all nodes of
// a cluster must agree on: a release that changes one may not run beside one that doesn't.
const (
	MaxTextData       = 128 << 10 // of a text message: 64 KiB of text are 88 KiB once encrypted and in base64 [TT-MSG-15]
	MaxAudioData      = 256 << 10 // of a voice message, its header included [TT-MSG-15]
	AudioHeader       = 4         // duration in seconds, before the sound
	MaxLoginName      = 64
	MaxPersonalText   = 128 // nick, mail address, phone, domain
	MaxAvatar         = 255
	MaxSign           = 128 // [TT-BUDDY-8]
	MaxDepartmentName = 128
	MaxGroupName      = 768
	MaxGroupMembers   = 5000 // each message names them all to every node's bus
	MaxDeviceToken    = 512
	MaxTaskID         = 128
	MaxFileName       = 1024 // COMPAT: Windows sends the whole local path
	MaxOfflineFiles   = 1000 // that wait for one receiver
	MaxPasswordHash   = 512
	MaxContentType    = 128
	MaxBurnAfter      = 7 * 24 * 3600 // seconds
)

// CheckText refuses text that is too long or no UTF-8; what names it in the error.
func CheckText(what, s string, most int) error {
	if len(s) > most {
		return Errorf(CodeTooLarge, "%s of %d bytes: at most %d", what, len(s), most)
	}
	if !utf8.ValidString(s) {
		return Errorf(CodeInvalid, "%s is not UTF-8", what)
	}
	return nil
}

// CheckLine is CheckText for what is shown in one line: without control characters.
func CheckLine(what, s string, most int) error {
	if err := CheckText(what, s, most); err != nil {
		return err
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return Errorf(CodeInvalid, "%s holds a control character", what)
	}
	return nil
}

// CheckName is CheckLine for what may not be empty or blank.
func CheckName(what, s string, most int) error {
	if strings.TrimSpace(s) == "" {
		return Errorf(CodeInvalid, "%s is empty", what)
	}
	return CheckLine(what, s, most)
}

// Check refuses extras that a message to a session of this type can't have. Whether ReplyTo exists is not looked at.
func (e *Extras) Check(to SessionType) error {
	if *e == (Extras{}) {
		return nil
	}
	if err := CheckLine("content type", e.ContentType, MaxContentType); err != nil {
		return err
	}
	switch {
	case e.BurnAfter > MaxBurnAfter:
		return Errorf(CodeInvalid, "burn after %d seconds: at most %d", e.BurnAfter, MaxBurnAfter)
	case e.BurnAfter != 0 && to != SessionSingle:
		return Errorf(CodeInvalid, "only messages of one-to-one chats burn")
	}
	return nil
}

// Check refuses a directory entry with a field that can't be stored; what refers to other records is not looked at.
func (u *User) Check() error {
	if err := checkLoginName(u.Name); err != nil {
		return err
	}
	if u.ID >= MaxLocalID {
		return Errorf(CodeInvalid, "user id %d: at most %d", u.ID, MaxLocalID-1)
	}
	if u.Gender > 2 {
		return Errorf(CodeInvalid, "gender %d: 0 unknown, 1 male or 2 female", u.Gender)
	}
	if u.Status > StatusIntern {
		return Errorf(CodeInvalid, "status %d: 0 to %d", u.Status, StatusIntern)
	}
	if u.Created < 0 {
		return Errorf(CodeInvalid, "created before 1970")
	}
	for _, f := range []struct {
		what, value string
		most        int
	}{
		{"nick", u.Nick, MaxPersonalText}, {"mail address", u.Email, MaxPersonalText}, {"phone", u.Phone, MaxPersonalText},
		{"domain", u.Domain, MaxPersonalText}, {"avatar", u.Avatar, MaxAvatar},
	} {
		if err := CheckLine(f.what, f.value, f.most); err != nil {
			return err
		}
	}
	return CheckText("signature", u.Sign, MaxSign)
}

// checkLoginName refuses names that cannot be told from others by eye.
func checkLoginName(s string) error {
	if s != strings.TrimSpace(s) {
		return Errorf(CodeInvalid, "login name begins or ends with a blank")
	}
	return CheckName("login name", s, MaxLoginName)
}

// Truncate shortens s to at most so many bytes, at the end of a character.
func Truncate(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:max(most, 0)]
}
