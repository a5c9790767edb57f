package pdu

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ErrNoMessage means that a command has no row or no message.
var ErrNoMessage = errors.New("pdu: command without a message")

// Decode reads the body of a PDU that came from a client (ClientToServer) or from a server. It fails on what is no protobuf,
// on missing required fields and on numbers outside a required enum [TT-FRAME-5].
func Decode(p PDU, from Direction) (proto.Message, error) {
	row, ok := Lookup(p.Header.Command)
	if !ok || row.New == nil {
		return nil, fmt.Errorf("%w: %v", ErrNoMessage, p.Header.Command)
	}
	newMessage := row.New
	if from == ServerToClient && row.FromServer != nil {
		newMessage = row.FromServer
	}
	m := newMessage()
	if row.SkipBody && from == ClientToServer {
		return m, nil
	}
	if err := Unmarshal(p.Body, m); err != nil {
		return nil, fmt.Errorf("pdu: %v: %w", p.Header.Command, err)
	}
	return m, nil
}

// Unmarshal reads a body into m as the legacy servers do: a missing required field or a number outside a required enum is an
// error, one outside an optional enum counts as not set. Fields that m does not know are dropped, so that nothing unseen
// is passed on. proto.Unmarshal alone is not enough: in Go it accepts every number for an enum [TT-FRAME-5].
func Unmarshal(body []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return err
	}
	return closeEnums(m.ProtoReflect())
}

// closeEnums looks at the enums of m and of the messages in it. Our messages have no repeated enums and no maps.
func closeEnums(m protoreflect.Message) error {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		var err error
		switch {
		case f.Kind() == protoreflect.EnumKind:
			err = closeEnum(m, f)
		case f.Kind() == protoreflect.MessageKind && m.Has(f):
			err = closeNested(m, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func closeEnum(m protoreflect.Message, f protoreflect.FieldDescriptor) error {
	n := m.Get(f).Enum()
	if f.Enum().Values().ByNumber(n) != nil {
		return nil
	}
	if f.Cardinality() == protoreflect.Required {
		return fmt.Errorf("%s: no %s has the number %d", f.FullName(), f.Enum().Name(), n)
	}
	m.Clear(f)
	return nil
}

func closeNested(m protoreflect.Message, f protoreflect.FieldDescriptor) error {
	if !f.IsList() {
		return closeEnums(m.Get(f).Message())
	}
	list := m.Get(f).List()
	for i := range list.Len() {
		if err := closeEnums(list.Get(i).Message()); err != nil {
			return err
		}
	}
	return nil
}
