package load

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

const clientName = "ttload"

// byeError is a goodbye of the server.
type byeError struct {
	code    sessionpb.Code
	message string
	after   time.Duration // before that it does not want to see us again
}

func (b *byeError) Error() string { return fmt.Sprintf("goodbye: %v: %s", b.code, b.message) }

func readBye(body []byte) error {
	var bye sessionpb.Bye
	if err := proto.Unmarshal(body, &bye); err != nil {
		return fmt.Errorf("goodbye: %w", err)
	}
	return &byeError{code: bye.GetCode(), message: bye.GetMessage(), after: time.Duration(bye.GetRetryAfterMs()) * time.Millisecond}
}

// ticket is what a session is resumed with.
type ticket struct {
	token  []byte
	cursor protocol.Cursor
}

// helloRequest begins a session of the n-th user's only device, or resumes it.
func (t Target) helloRequest(n int, resume ticket) *sessionpb.Hello {
	return &sessionpb.Hello{
		Version: 1, Client: clientName, ClientVersion: clientName, ClientType: uint32(t.Client),
		DeviceId: fmt.Sprintf("ttload-%d", n), ResumeToken: resume.token, Cursor: uint64(resume.cursor),
	}
}

// hello begins a new session of the extension.
func (c *Conn) hello(t Target, n int) error {
	if err := c.send(pdu.CmdHello, t.helloRequest(n, ticket{})); err != nil {
		return err
	}
	body, err := c.await(pdu.CmdWelcome)
	if err != nil {
		return fmt.Errorf("wait for WELCOME: %w", err)
	}
	var welcome sessionpb.Welcome
	if err := proto.Unmarshal(body, &welcome); err != nil {
		return err
	}
	if v := welcome.GetVerdict(); v != sessionpb.Verdict_LOGIN_NEEDED {
		return fmt.Errorf("HELLO without a token: %v", v)
	}
	return nil
}

// take notes what a PDU says about resuming; ok tells whether it was a CREDENTIAL.
func (k *ticket) take(p pdu.PDU) (ok bool, err error) {
	switch p.Header.Command {
	case pdu.CmdCursor:
		var m sessionpb.Cursor
		if err := proto.Unmarshal(p.Body, &m); err != nil {
			return false, err
		}
		k.cursor = max(k.cursor, protocol.Cursor(m.GetCursor()))
	case pdu.CmdCredential:
		var m sessionpb.Credential
		if err := proto.Unmarshal(p.Body, &m); err != nil {
			return false, err
		}
		if len(m.GetResumeToken()) == 0 {
			return false, errors.New("CREDENTIAL without a token")
		}
		k.token = m.GetResumeToken()
		k.cursor = max(k.cursor, protocol.Cursor(m.GetCursor()))
		return true, nil
	}
	return false, nil
}
