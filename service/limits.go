package service

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"teamtalk/protocol"
)

// Limits of what is stored, in bytes unless said otherwise.
const (
	maxTextData       = 128 << 10 // 64 KiB of text are 88 KiB once encrypted and in base64
	maxAudioData      = 256 << 10
	audioHeader       = 4 // seconds, before the sound
	maxLoginName      = 64
	maxPersonalText   = 128 // nick, mail address, phone, domain
	maxAvatar         = 255
	maxSign           = 128
	maxDepartmentName = 128
	maxGroupName      = 768
	maxDeviceToken    = 512
	maxTaskID         = 128
	maxFileName       = 1024 // COMPAT: Windows sends the whole local path
	maxIDs            = 100_000
	maxMembers        = 10_000 // in one request
)

// checkText refuses text that is too long or no UTF-8.
func checkText(what, s string, most int) error {
	if len(s) > most {
		return protocol.Errorf(protocol.CodeTooLarge, "%s of %d bytes: at most %d", what, len(s), most)
	}
	if !utf8.ValidString(s) {
		return protocol.Errorf(protocol.CodeInvalid, "%s is not UTF-8", what)
	}
	return nil
}

// checkLine is checkText for what is shown in one line: without control characters.
func checkLine(what, s string, most int) error {
	if err := checkText(what, s, most); err != nil {
		return err
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return protocol.Errorf(protocol.CodeInvalid, "%s holds a control character", what)
		}
	}
	return nil
}

// checkName is checkLine for what may not be empty.
func checkName(what, s string, most int) error {
	if strings.TrimSpace(s) == "" {
		return protocol.Errorf(protocol.CodeInvalid, "%s is empty", what)
	}
	return checkLine(what, s, most)
}

// checkLoginName refuses names that cannot be told from others by eye.
func checkLoginName(s string) error {
	if s != strings.TrimSpace(s) {
		return protocol.Errorf(protocol.CodeInvalid, "login name begins or ends with a blank")
	}
	return checkName("login name", s, maxLoginName)
}

// checkUser checks all fields of a directory entry that do not refer to others.
func checkUser(u protocol.User) error {
	if err := checkLoginName(u.Name); err != nil {
		return err
	}
	if u.ID >= protocol.MaxLocalID {
		return protocol.Errorf(protocol.CodeInvalid, "user id %d: at most %d", u.ID, protocol.MaxLocalID-1)
	}
	if err := checkEnums(u.Gender, u.Status); err != nil {
		return err
	}
	for _, f := range []struct {
		what, value string
		most        int
	}{
		{"nick", u.Nick, maxPersonalText}, {"mail address", u.Email, maxPersonalText}, {"phone", u.Phone, maxPersonalText},
		{"domain", u.Domain, maxPersonalText}, {"avatar", u.Avatar, maxAvatar},
	} {
		if err := checkLine(f.what, f.value, f.most); err != nil {
			return err
		}
	}
	return checkText("signature", u.Sign, maxSign)
}

func checkEnums(gender uint8, status protocol.UserStatus) error {
	if gender > 2 {
		return protocol.Errorf(protocol.CodeInvalid, "gender %d: 0 unknown, 1 male, 2 female", gender)
	}
	if status > protocol.StatusIntern {
		return protocol.Errorf(protocol.CodeInvalid, "status %d: 0 to %d", status, protocol.StatusIntern)
	}
	return nil
}

// distinct is the ids ascending, each once, without 0; more than most of them are refused.
func distinct[T ~uint32](ids []T, most int) ([]T, error) {
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) > 0 && sorted[0] == 0 {
		sorted = sorted[1:]
	}
	if len(sorted) > most {
		return nil, protocol.Errorf(protocol.CodeTooLarge, "%d ids: at most %d", len(sorted), most)
	}
	return sorted, nil
}
