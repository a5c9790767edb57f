package e2e

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// commandNamed finds a command by its name or its number.
func commandNamed(name string) (pdu.Command, bool) {
	for _, row := range pdu.Table() {
		if row.Command.IsExtension() && row.Command.String() == name {
			return row.Command, true
		}
	}
	for _, service := range []map[string]int32{pb.LoginCmdID_value, pb.BuddyListCmdID_value, pb.MessageCmdID_value, pb.GroupCmdID_value,
		pb.FileCmdID_value, pb.SwitchServiceCmdID_value, pb.OtherCmdID_value} {
		if n, ok := service[name]; ok {
			return pdu.Command(n), true
		}
	}
	if digits, ok := strings.CutPrefix(name, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 16)
		return pdu.Command(n), err == nil
	}
	return 0, false
}

// sent is an empty message for the body of a command from a client, nil if it has none.
func sent(cmd pdu.Command) proto.Message {
	row, ok := pdu.Lookup(cmd)
	if !ok || row.New == nil {
		return nil
	}
	return row.New()
}

// answered is an empty message for the body of a command from the server, nil if it has none.
func answered(cmd pdu.Command) proto.Message {
	if row, ok := pdu.Lookup(cmd); ok && row.FromServer != nil {
		return row.FromServer()
	}
	return sent(cmd)
}

func clientType(name string) (pb.ClientType, bool) {
	n, ok := pb.ClientType_value["CLIENT_TYPE_"+strings.ToUpper(name)]
	return pb.ClientType(n), ok
}

// isReset: a server that closes with unread bytes in its buffer resets; for a client that is a close all the same.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
