package e2e

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ParsePattern reads the fields of a message, without the braces around them.
func ParsePattern(s string) (*Pattern, error) {
	p := &patternParser{rest: s}
	pattern, err := p.fields(false)
	if err != nil {
		return nil, err
	}
	return pattern, nil
}

type patternParser struct{ rest string }

func (p *patternParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n,;") }

func (p *patternParser) fields(nested bool) (*Pattern, error) {
	pattern := &Pattern{}
	for {
		p.skip()
		switch {
		case p.rest == "" && nested:
			return nil, fmt.Errorf("a { is not closed")
		case p.rest == "":
			return pattern, nil
		case p.rest[0] == '}' && !nested:
			return nil, fmt.Errorf("a } too many")
		case p.rest[0] == '}':
			p.rest = p.rest[1:]
			return pattern, nil
		case strings.HasPrefix(p.rest, "..."):
			pattern.Open, p.rest = true, p.rest[3:]
			continue
		}
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		pattern.Fields = append(pattern.Fields, f)
	}
}

func (p *patternParser) field() (Field, error) {
	name := p.word()
	if name == "" {
		return Field{}, fmt.Errorf("a field's name is expected at %q", shorten(p.rest))
	}
	p.skip()
	p.rest = strings.TrimPrefix(p.rest, ":")
	p.skip()
	before := p.rest
	v, err := p.value()
	if err != nil {
		return Field{}, fmt.Errorf("%s: %w", name, err)
	}
	v.source = strings.TrimSpace(before[:len(before)-len(p.rest)])
	return Field{Name: name, Value: v}, nil
}

func (p *patternParser) word() string {
	n := 0
	for n < len(p.rest) && isWordByte(p.rest[n]) {
		n++
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	return w
}

func isWordByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *patternParser) value() (Value, error) {
	if p.rest == "" {
		return Value{}, fmt.Errorf("a value is missing")
	}
	switch c := p.rest[0]; {
	case c == '*':
		p.rest = p.rest[1:]
		return Value{kind: anyValue}, nil
	case c == '$':
		p.rest = p.rest[1:]
		return Value{kind: varValue, text: p.word()}, nil
	case c == '{':
		p.rest = p.rest[1:]
		nested, err := p.fields(true)
		return Value{kind: nestedValue, nested: nested}, err
	case c == '"' || c == '@':
		text, err := p.bytes()
		return Value{kind: bytesValue, text: text}, err
	}
	w := p.word()
	if n, err := strconv.ParseInt(w, 0, 64); err == nil {
		return Value{kind: numberValue, number: n}, nil
	}
	if w == "" {
		return Value{}, fmt.Errorf("no value at %q", shorten(p.rest))
	}
	return Value{kind: wordValue, text: w}, nil
}

// bytes reads string literals and @functions standing one after the other.
func (p *patternParser) bytes() (string, error) {
	var all strings.Builder
	for {
		p.skipBlanks()
		switch {
		case strings.HasPrefix(p.rest, `"`):
			text, rest, err := unquote(p.rest)
			if err != nil {
				return "", err
			}
			all.WriteString(text)
			p.rest = rest
		case strings.HasPrefix(p.rest, "@"):
			text, err := p.function()
			if err != nil {
				return "", err
			}
			all.WriteString(text)
		default:
			return all.String(), nil
		}
	}
}

func (p *patternParser) skipBlanks() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *patternParser) function() (string, error) {
	p.rest = p.rest[1:]
	name := p.word()
	if !strings.HasPrefix(p.rest, "(") {
		return "", fmt.Errorf("@%s( is expected", name)
	}
	p.rest = p.rest[1:]
	p.skipBlanks()
	var arg string
	var err error
	if strings.HasPrefix(p.rest, `"`) || strings.HasPrefix(p.rest, "@") {
		arg, err = p.bytes()
	} else {
		arg = p.word()
	}
	if err != nil {
		return "", err
	}
	count := 1
	p.skipBlanks()
	if strings.HasPrefix(p.rest, ",") {
		p.rest = p.rest[1:]
		p.skipBlanks()
		if count, err = strconv.Atoi(p.word()); err != nil {
			return "", fmt.Errorf("@%s: %w", name, err)
		}
	}
	if !strings.HasPrefix(p.rest, ")") {
		return "", fmt.Errorf("@%s(…: ) is expected", name)
	}
	p.rest = p.rest[1:]
	return call(name, arg, count)
}

// call is the list of the functions a script may use for bytes.
func call(name, arg string, count int) (string, error) {
	switch name {
	case "repeat":
		if count < 0 || count*len(arg) > 8<<20 {
			return "", fmt.Errorf("@repeat: %d × %d bytes", count, len(arg))
		}
		return strings.Repeat(arg, count), nil
	case "hex":
		raw, err := hex.DecodeString(arg)
		return string(raw), err
	case "text":
		return encrypted(arg)
	case "file":
		return recordedFile(arg, count)
	}
	return "", fmt.Errorf("there is no @%s", name)
}

// recordedFile is a part of the file that the recorded clients sent to each other: as many bytes of it, from an offset on.
func recordedFile(offset string, size int) (string, error) {
	from, err := strconv.Atoi(offset)
	if err != nil || size < 0 || size > 8<<20 {
		return "", fmt.Errorf("@file(%s, %d): an offset and a number of bytes", offset, size)
	}
	part := make([]byte, size)
	for i := range part {
		part[i] = byte((from+i)*7 + (from+i)/251)
	}
	return string(part), nil
}
