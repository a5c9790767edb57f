package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/proto"

	"teamtalk/client/dial"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	bulkPull  = 256 << 10 // asked for at a time
	bulkAhead = 2         // such pulls are under way
	bulkMost  = 1 << 20   // that a server may ask for at a time
	bulkOwed  = 512 << 10 // of an upload the server may have asked for and not yet got [TT-FILE-12]
)

// transfer carries the file of a task by a stream of the session's connection [TT-FILE-12], else by HTTP [TT-FILE-13]; each goes on where the other has
// stopped, which at tells. Where there is no HTTP it waits for another such stream. An error of over is final if no other way would do better.
func (c *Client) transfer(ctx context.Context, task string, at *int64, over func(*beside) (final bool, err error), byHTTP func() error) error {
	for failures := 0; ; failures++ {
		before := *at
		stream, err := c.engine.home.bulk(ctx)
		if stream != nil {
			var final bool
			final, err = over(&beside{stream: stream, task: task, me: c.Me()})
			stream.Close(bulkCode(err))
			if err == nil || final || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			c.engine.log.Debug("file goes on by another way", "task", task, "at", *at, "why", err)
		}
		if _, _, none := c.httpBases(); !errors.Is(none, ErrNoHTTP) {
			return byHTTP()
		}
		if *at > before {
			failures = 0
		}
		switch {
		case err == nil:
			return ErrNoHTTP
		case isCode(err, protocol.CodeNotFound), failures >= mediaTries-1:
			return errors.Join(err, ErrNoHTTP)
		}
		if err := errors.Join(pauseFor(ctx, mediaPause<<min(failures, 4)), c.WaitOnline(ctx)); err != nil {
			return err
		}
	}
}

func bulkCode(err error) protocol.Code {
	if err == nil {
		return protocol.CodeUnspecified
	}
	return protocol.CodeUnavailable
}

// beside is a stream beside the session, for one task.
type beside struct {
	stream dial.Bulk
	task   string
	me     protocol.UserID
	seq    uint16
}

func (b *beside) send(cmd pdu.Command, seq uint16, m proto.Message) error {
	frame, err := pdu.Append(nil, cmd, seq, m)
	if err != nil {
		return err
	}
	return b.stream.Write(frame)
}

// login names the task and what is done with it.
func (b *beside) login(role pb.ClientFileRole) error {
	err := b.send(pdu.CmdFileLoginReq, 1, &pb.IMFileLoginReq{UserId: proto.Uint32(uint32(b.me)), TaskId: proto.String(b.task), FileRole: role.Enum()})
	if err != nil {
		return err
	}
	p, err := b.stream.Read()
	if err != nil {
		return err
	}
	m := new(pb.IMFileLoginRsp)
	switch err := pdu.Unmarshal(p.Body, m); {
	case p.Header.Command != pdu.CmdFileLoginRes || err != nil:
		return errors.Join(errMuddled, err)
	case m.GetResultCode() != 0:
		return &Error{Code: protocol.CodeNotFound, Message: "no such file at the node of the session"}
	}
	return nil
}

// errMuddled: what came has no place in the conversation.
var errMuddled = errors.New("the server said something else")

// state takes 0x0503, which ends the conversation.
func (b *beside) state(p pdu.PDU) (done bool, err error) {
	m := new(pb.IMFileState)
	if err := pdu.Unmarshal(p.Body, m); err != nil {
		return false, errors.Join(errMuddled, err)
	}
	return m.GetState() == pb.ClientFileState_CLIENT_FILE_DONE, nil
}

// beside answers the server's pulls until it has stored the file.
func (u *uploading) beside(b *beside) (final bool, err error) {
	u.asked = false // how much the server has is to be asked for, should it go on by HTTP
	if err := b.login(pb.ClientFileRole_CLIENT_OFFLINE_UPLOAD); err != nil {
		return false, err
	}
	for {
		p, err := b.stream.Read()
		if err != nil {
			return false, err
		}
		switch p.Header.Command {
		case pdu.CmdFilePullReq:
			if final, err := u.give(b, p); err != nil {
				return final, err
			}
		case pdu.CmdFileState:
			done, err := b.state(p)
			if err != nil {
				return false, err
			}
			if !done {
				return true, &Error{Code: protocol.CodeUnavailable, Message: "the server could not store the file: offer it anew"}
			}
			u.complete = true
			u.has(u.size)
			return true, nil
		}
	}
}

// give answers a pull. An error of the app's reader is final.
func (u *uploading) give(b *beside, p pdu.PDU) (final bool, err error) {
	m := new(pb.IMFilePullDataReq)
	if err := pdu.Unmarshal(p.Body, m); err != nil {
		return false, errors.Join(errMuddled, err)
	}
	from, n := int64(m.GetOffset()), int64(m.GetDataSize())
	if m.GetTaskId() != b.task || n > bulkMost || from+n > u.size {
		return false, errMuddled
	}
	block := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(u.file.Content, from, n), block); err != nil {
		return true, fmt.Errorf("read the file at %d: %w", from, err)
	}
	u.has(from - bulkOwed)
	return false, b.send(pdu.CmdFilePullRes, p.Header.Seq, &pb.IMFilePullDataRsp{ResultCode: proto.Uint32(0), TaskId: m.TaskId,
		UserId: proto.Uint32(uint32(b.me)), Offset: m.Offset, FileData: block})
}

// has notes that the server has so much at least.
func (u *uploading) has(at int64) {
	if at <= u.at {
		return
	}
	u.at = at
	if u.file.Progress != nil {
		u.file.Progress(at)
	}
}

// beside asks for one block after the other, some ahead, until the server says that it was the last.
func (d *downloading) beside(b *beside) (final bool, err error) {
	if d.at > math.MaxUint32-bulkMost {
		return false, errMuddled // beyond what can be asked for so
	}
	if err := b.login(pb.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD); err != nil {
		return false, err
	}
	for next, open := d.at, 0; ; {
		for ; open < bulkAhead && next <= math.MaxUint32-bulkMost; open++ {
			if err := b.pull(next); err != nil {
				return false, err
			}
			next += bulkPull
		}
		p, err := b.stream.Read()
		if err != nil {
			return false, err
		}
		switch p.Header.Command {
		case pdu.CmdFilePullRes:
			open--
			if final, err := d.take(p); err != nil {
				return final, err
			}
		case pdu.CmdFileState:
			done, err := b.state(p)
			if err == nil && !done {
				err = errMuddled
			}
			return err == nil, err
		}
	}
}

func (b *beside) pull(from int64) error {
	b.seq++
	return b.send(pdu.CmdFilePullReq, b.seq, &pb.IMFilePullDataReq{TaskId: proto.String(b.task), UserId: proto.Uint32(uint32(b.me)),
		TransMode: pb.TransferFileType_FILE_TYPE_OFFLINE.Enum(), Offset: proto.Uint32(uint32(from)), DataSize: proto.Uint32(bulkPull)})
}

// take writes a block. An error of the app's writer is final.
func (d *downloading) take(p pdu.PDU) (final bool, err error) {
	m := new(pb.IMFilePullDataRsp)
	if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetResultCode() != 0 || int64(m.GetOffset()) != d.at {
		return false, errors.Join(errMuddled, err)
	}
	n, err := guarded{d.w}.Write(m.GetFileData())
	d.at += int64(n)
	return true, err
}
