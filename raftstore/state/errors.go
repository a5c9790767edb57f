package state

import "teamtalk/protocol"

func invalid(format string, args ...any) error {
	return protocol.Errorf(protocol.CodeInvalid, format, args...)
}

func notFound(format string, args ...any) error {
	return protocol.Errorf(protocol.CodeNotFound, format, args...)
}

func forbidden(format string, args ...any) error {
	return protocol.Errorf(protocol.CodeForbidden, format, args...)
}

func tooLarge(format string, args ...any) error {
	return protocol.Errorf(protocol.CodeTooLarge, format, args...)
}
