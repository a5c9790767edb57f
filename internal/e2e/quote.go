package e2e

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"teamtalk/protocol/crypt"
)

// quote writes bytes as a script has them: readable text as it is, everything else as \xNN, long repetitions as @repeat.
func quote(s string) string {
	const short = 80
	if len(s) <= short {
		return quotePlain(s)
	}
	for _, head := range []int{0, 4} { // an audio message begins with four bytes of its own
		unit, n := repetition(s[head:])
		if covered := head + len(unit)*n; n >= 3 && covered > len(s)/2 {
			return strings.TrimSpace(quoteUnlessEmpty(s[:head]) + fmt.Sprintf(" @repeat(%s, %d) ", quotePlain(unit), n) + quoteUnlessEmpty(s[covered:]))
		}
	}
	return quotePlain(s)
}

func quoteUnlessEmpty(s string) string {
	if s == "" {
		return ""
	}
	return quotePlain(s)
}

// repetition finds what s begins with again and again: the unit of at most 256 bytes that covers most of it.
func repetition(s string) (unit string, times int) {
	for l := 1; l <= 256 && l <= len(s)/2; l++ {
		n := 1
		for (n+1)*l <= len(s) && s[n*l:(n+1)*l] == s[:l] {
			n++
		}
		if n > 1 && n*l > len(unit)*times {
			unit, times = s[:l], n
		}
	}
	return unit, times
}

func quotePlain(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			for i := range n {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			}
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads the string literal at the start of s and returns what follows it.
func unquote(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			n, err := unescape(&b, s[i+1:])
			if err != nil {
				return "", "", err
			}
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("string without end: %s", shorten(s))
}

func unescape(b *strings.Builder, s string) (int, error) {
	if s == "" {
		return 0, fmt.Errorf("string ends in a backslash")
	}
	switch s[0] {
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case '"', '\\', '\'':
		b.WriteByte(s[0])
	case 'x':
		if len(s) < 3 {
			return 0, fmt.Errorf(`\x needs two digits`)
		}
		raw, err := hex.DecodeString(s[1:3])
		if err != nil {
			return 0, fmt.Errorf(`\x%s: %w`, s[1:3], err)
		}
		b.Write(raw)
		return 3, nil
	default:
		return 0, fmt.Errorf(`unknown escape \%c`, s[0])
	}
	return 1, nil
}

// encrypted is message data as clients make it of a text.
func encrypted(text string) (string, error) {
	c, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		return "", err
	}
	return string(c.Encrypt(text)), nil
}

// quoteData writes message data: @text if it is exactly what a client makes of a text, else the bytes.
func quoteData(data string) string {
	c, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		return quote(data)
	}
	text, err := c.Decrypt([]byte(data))
	if err != nil || text == "" || string(c.Encrypt(text)) != data {
		return quote(data)
	}
	return "@text(" + quote(text) + ")"
}
