package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Pattern is the body of a message as a script writes it: `user_id: 1 create_time: * msg_id: $first …`. It builds the message
// to send, or says how a received one differs.
type Pattern struct {
	Fields []Field
	Open   bool // "...": fields that are not named may be there
}

// A Field is one occurrence of a field; a repeated field occurs several times.
type Field struct {
	Name  string
	Value Value
}

type valueKind uint8

const (
	anyValue    valueKind = iota // *
	varValue                     // $name
	numberValue                  // 42, -1, 0x2a
	wordValue                    // an enum's name, true, false
	bytesValue                   // "…", @text(…), @repeat(…), @hex(…), one after the other
	nestedValue                  // { … }
)

// A Value is what a field must hold.
type Value struct {
	kind   valueKind
	source string // as written, for rewriting
	number int64
	text   string // the word, the variable's name or the bytes
	nested *Pattern
}

// Vars holds what a script's variables are bound to: int64 or string (bytes too).
type Vars map[string]any

// Mismatch is one difference between what was expected and what came.
type Mismatch struct {
	Path string
	Want string
	Got  string
}

// String is one line for a test's report.
func (m Mismatch) String() string { return fmt.Sprintf("%s: want %s, got %s", m.Path, m.Want, m.Got) }

// Build makes the message to send. Required fields may be missing: scripts send malformed messages too.
func (p *Pattern) Build(m protoreflect.Message, vars Vars) error {
	for _, f := range p.Fields {
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(f.Name))
		if fd == nil {
			return fmt.Errorf("%s has no field %q", m.Descriptor().Name(), f.Name)
		}
		if fd.Kind() == protoreflect.MessageKind {
			if err := buildNested(m, fd, f.Value, vars); err != nil {
				return err
			}
			continue
		}
		v, err := f.Value.scalar(fd, vars)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if fd.IsList() {
			m.Mutable(fd).List().Append(v)
		} else {
			m.Set(fd, v)
		}
	}
	return nil
}

func buildNested(m protoreflect.Message, fd protoreflect.FieldDescriptor, v Value, vars Vars) error {
	if v.kind != nestedValue {
		return fmt.Errorf("%s: a message is written { … }", fd.Name())
	}
	if fd.IsList() {
		return v.nested.Build(m.Mutable(fd).List().AppendMutable().Message(), vars)
	}
	return v.nested.Build(m.Mutable(fd).Message(), vars)
}

func (v Value) scalar(fd protoreflect.FieldDescriptor, vars Vars) (protoreflect.Value, error) {
	var held any
	switch v.kind {
	case varValue:
		bound, ok := vars[v.text]
		if !ok {
			return protoreflect.Value{}, fmt.Errorf("$%s is not bound yet", v.text)
		}
		held = bound
	case numberValue:
		held = v.number
	case bytesValue:
		held = v.text
	case wordValue:
		held = v.text
		if fd.Kind() == protoreflect.EnumKind {
			ev := fd.Enum().Values().ByName(protoreflect.Name(v.text))
			if ev == nil {
				return protoreflect.Value{}, fmt.Errorf("%s is not a %s", v.text, fd.Enum().Name())
			}
			held = int64(ev.Number())
		}
	default:
		return protoreflect.Value{}, fmt.Errorf("%s can't be sent", v.source)
	}
	return toProto(fd, held)
}

func toProto(fd protoreflect.FieldDescriptor, held any) (protoreflect.Value, error) {
	n, isNumber := held.(int64)
	s, isText := held.(string)
	switch kind := fd.Kind(); {
	case kind == protoreflect.StringKind && isText:
		return protoreflect.ValueOfString(s), nil
	case kind == protoreflect.BytesKind && isText:
		return protoreflect.ValueOfBytes([]byte(s)), nil
	case kind == protoreflect.EnumKind && isNumber:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	case kind == protoreflect.Uint32Kind && isNumber:
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case kind == protoreflect.Uint64Kind && isNumber:
		return protoreflect.ValueOfUint64(uint64(n)), nil
	case kind == protoreflect.BoolKind && isText:
		return protoreflect.ValueOfBool(s == "true"), nil
	}
	return protoreflect.Value{}, fmt.Errorf("%v is no %s", held, fd.Kind())
}

// fromProto is the opposite of toProto.
func fromProto(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return v.String()
	case protoreflect.BytesKind:
		return string(v.Bytes())
	case protoreflect.EnumKind:
		return int64(v.Enum())
	case protoreflect.BoolKind:
		return strconv.FormatBool(v.Bool())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return int64(v.Uint())
	}
	return fmt.Sprint(v.Interface())
}

// Match compares a received message with the pattern; unbound variables are bound to what came, unless something differs.
func (p *Pattern) Match(m protoreflect.Message, vars Vars) []Mismatch {
	trial := make(Vars)
	for k, v := range vars {
		trial[k] = v
	}
	bad := p.match("", m, trial)
	if len(bad) == 0 {
		for k, v := range trial {
			vars[k] = v
		}
	}
	return bad
}

func (p *Pattern) match(path string, m protoreflect.Message, vars Vars) []Mismatch {
	var bad []Mismatch
	named := map[protoreflect.Name][]Value{}
	for _, f := range p.Fields {
		name := protoreflect.Name(f.Name)
		if m.Descriptor().Fields().ByName(name) == nil {
			bad = append(bad, Mismatch{path + f.Name, f.Value.source, "no such field in " + string(m.Descriptor().Name())})
			continue
		}
		named[name] = append(named[name], f.Value)
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		want, isNamed := named[fd.Name()]
		if !isNamed && (p.Open || !m.Has(fd)) {
			continue
		}
		got := occurrences(m, fd)
		if isNamed && !fd.HasPresence() && !fd.IsList() {
			got = []protoreflect.Value{m.Get(fd)} // in proto3 a zero is there, whether or not it is on the wire
		}
		bad = append(bad, matchField(path+string(fd.Name()), fd, want, got, vars)...)
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 && !p.Open {
		bad = append(bad, Mismatch{path + "unknown fields", "none", fmt.Sprintf("%x", []byte(unknown))})
	}
	return bad
}

func occurrences(m protoreflect.Message, fd protoreflect.FieldDescriptor) []protoreflect.Value {
	if !m.Has(fd) {
		return nil
	}
	if !fd.IsList() {
		return []protoreflect.Value{m.Get(fd)}
	}
	list := m.Get(fd).List()
	all := make([]protoreflect.Value, list.Len())
	for i := range all {
		all[i] = list.Get(i)
	}
	return all
}

func matchField(path string, fd protoreflect.FieldDescriptor, want []Value, got []protoreflect.Value, vars Vars) []Mismatch {
	if fd.IsList() && len(want) == 1 && want[0].kind == anyValue {
		return nil
	}
	if len(want) != len(got) {
		return []Mismatch{{path, sources(want), rendered(fd, got)}}
	}
	var bad []Mismatch
	for i, w := range want {
		at := path
		if fd.IsList() {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		if w.kind == nestedValue && fd.Kind() == protoreflect.MessageKind {
			bad = append(bad, w.nested.match(at+".", got[i].Message(), vars)...)
		} else if !w.holds(fd, got[i], vars) {
			bad = append(bad, Mismatch{at, w.describe(vars), shorten(renderValue(fd, got[i]))})
		}
	}
	return bad
}

func (v Value) holds(fd protoreflect.FieldDescriptor, got protoreflect.Value, vars Vars) bool {
	if v.kind == anyValue {
		return true
	}
	if fd.Kind() == protoreflect.MessageKind {
		return false
	}
	held := fromProto(fd, got)
	if v.kind == varValue {
		bound, ok := vars[v.text]
		if !ok {
			vars[v.text] = held
			return true
		}
		return bound == held
	}
	want, err := v.scalar(fd, vars)
	return err == nil && fromProto(fd, want) == held
}

func (v Value) describe(vars Vars) string {
	if v.kind == varValue {
		if bound, ok := vars[v.text]; ok {
			return fmt.Sprintf("%s = %s", v.source, renderHeld(bound))
		}
	}
	return shorten(v.source)
}

func sources(vs []Value) string {
	all := make([]string, len(vs))
	for i, v := range vs {
		all[i] = shorten(v.source)
	}
	return fmt.Sprintf("%d × %v", len(vs), all)
}

func rendered(fd protoreflect.FieldDescriptor, vs []protoreflect.Value) string {
	all := make([]string, len(vs))
	for i, v := range vs {
		all[i] = shorten(renderValue(fd, v))
	}
	return fmt.Sprintf("%d × %v", len(vs), all)
}

func shorten(s string) string {
	if len(s) > 300 {
		return s[:200] + fmt.Sprintf("…(%d bytes)", len(s))
	}
	return s
}

func renderValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return "{ " + renderFields(v.Message(), nil, nil) + "}"
	case protoreflect.EnumKind:
		if ev := fd.Enum().Values().ByNumber(v.Enum()); ev != nil {
			return string(ev.Name())
		}
	case protoreflect.BytesKind:
		return quoteData(string(v.Bytes()))
	}
	return renderHeld(fromProto(fd, v))
}

func renderHeld(held any) string {
	if s, ok := held.(string); ok {
		return quote(s)
	}
	return fmt.Sprint(held)
}

// Render writes a received message as a script would. Values that like accepts are written as like has them, so that variables and
// wildcards survive a rewrite.
func Render(m proto.Message, like *Pattern, vars Vars) string {
	return strings.TrimSpace(renderFields(m.ProtoReflect(), like, vars))
}

func renderFields(m protoreflect.Message, like *Pattern, vars Vars) string {
	var b strings.Builder
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		old := like.named(string(fd.Name()))
		for n, v := range occurrences(m, fd) {
			kept := slices.Clone(old[min(n, len(old)):])
			fmt.Fprintf(&b, "%s: %s ", fd.Name(), renderLike(fd, v, kept, vars))
		}
	}
	return b.String()
}

func (p *Pattern) named(name string) []Value {
	if p == nil {
		return nil
	}
	var vs []Value
	for _, f := range p.Fields {
		if f.Name == name {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

func renderLike(fd protoreflect.FieldDescriptor, v protoreflect.Value, old []Value, vars Vars) string {
	if len(old) > 0 && old[0].kind == nestedValue && fd.Kind() == protoreflect.MessageKind {
		return "{ " + renderFields(v.Message(), old[0].nested, vars) + "}"
	}
	if len(old) > 0 && old[0].kind != nestedValue && old[0].holds(fd, v, vars) {
		return old[0].source
	}
	if fd.Kind() == protoreflect.MessageKind {
		return "{ " + renderFields(v.Message(), nil, vars) + "}"
	}
	if strings.HasSuffix(string(fd.Name()), "_time") && fd.Kind() == protoreflect.Uint32Kind && v.Uint() > 1e9 {
		return "*"
	}
	return renderValue(fd, v)
}
