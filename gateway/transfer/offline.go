package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// fileType is what a file is handed out as, whatever is in it: it is only ever saved. It is recorded without a type, for the same content may come as a picture.
const fileType = "application/octet-stream"

// upload pulls the file of an offline task from its sender, from where it stopped the last time [TT-FILE-8] [TT-FILE-10].
func (e *Engine) upload(l *link, t *task) error {
	if err := e.begin(t); err != nil {
		return e.giveUp(l, t, err)
	}
	size, window := uint32(segment), uint32(1)
	if l.bulk {
		size, window = bulkSegment, bulkWindow
	}
	written := uint32(t.draft.Size())
	for asked := written; written < t.size; {
		for asked < t.size && asked-written < size*window {
			n := min(size, t.size-asked)
			if !l.send(pdu.CmdFilePullReq, 0, pullReq(t, t.from, asked, n)) {
				return errStalled
			}
			asked += n
		}
		p, err := e.next(l, maxBlock+frameReserve)
		if err != nil {
			return err
		}
		var n uint32
		switch p.Header.Command {
		case pdu.CmdFilePullRes:
			n, err = e.take(l, t, p, written, min(size, t.size-written))
		case pdu.CmdFileState:
			err = e.uploaderSays(t, p)
		}
		if err != nil {
			return err
		}
		written += n
	}
	if err := e.commit(e.life, t); err != nil {
		return e.giveUp(l, t, err)
	}
	l.send(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_DONE, t.id, t.from))
	e.finish(t, endedDone)
	return errOver
}

// begin makes sure that there is something to write to.
func (e *Engine) begin(t *task) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draft != nil {
		return nil
	}
	d, err := e.blobs.Begin(e.life, t.from, uint64(t.size))
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t.draft = d
	return nil
}

// take writes the block of n bytes at offset that 0x0505 should have.
func (e *Engine) take(l *link, t *task, p pdu.PDU, offset, n uint32) (uint32, error) {
	m := new(pb.IMFilePullDataRsp)
	if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetTaskId() != t.id {
		return 0, errProtocol
	}
	if m.GetResultCode() != 0 { // the sender can't read its file
		e.finish(t, endedCancelled)
		return 0, errOver
	}
	if m.GetOffset() != offset || uint32(len(m.GetFileData())) != n {
		return 0, errProtocol
	}
	if _, err := t.draft.Write(m.GetFileData()); err != nil {
		return 0, e.giveUp(l, t, err)
	}
	e.metrics.bytes.WithLabelValues("stored").Add(float64(n))
	return n, nil
}

// uploaderSays is 0x0503 before all is there: whatever it is, the file does not come.
func (e *Engine) uploaderSays(t *task, p pdu.PDU) error {
	_, how, err := stateFor(p, t.id)
	if err != nil || how == "" {
		return err
	}
	e.finish(t, endedCancelled)
	return errOver
}

// giveUp ends a task that can't be stored, and tells its sender.
func (e *Engine) giveUp(l *link, t *task, err error) error {
	e.log.Warn("file not stored", "task", t.id, "from", t.from, "to", t.to, "size", t.size, "error", err)
	l.send(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_CANCEL, t.id, t.from))
	e.finish(t, endedFailed)
	return errOver
}

// commit stores the whole file and has it wait for its receiver; the receiver is told by that [TT-FILE-10].
func (e *Engine) commit(ctx context.Context, t *task) error {
	id, err := t.draft.Keep(ctx, protocol.Blob{Owner: t.from})
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	cmd := &protocol.AddOfflineFile{File: protocol.OfflineFile{From: t.from, To: t.to, TaskID: t.id, Name: t.name, Size: t.size, Blob: id}}
	deadline := time.Now().Add(e.timing.Commit)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		_, err := e.store.Execute(ctx, cmd) // doing it twice is doing it once
		if err == nil || protocol.CodeOf(err) != protocol.CodeUnavailable && !protocol.IsOutcomeUnknown(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting finds a file that waits for a user.
func (e *Engine) waiting(u protocol.UserID, task string) (protocol.OfflineFile, error) {
	if err := protocol.CheckName("task id", task, protocol.MaxTaskID); err != nil {
		return protocol.OfflineFile{}, err
	}
	f, err := e.store.OfflineFileByTask(u, task)
	if err == nil && f.Blob.IsZero() {
		err = protocol.Errorf(protocol.CodeNotFound, "the file was left with another server")
	}
	return f, err
}

// open begins to read a file that waits for a user; errMany if he fetches too much already.
func (e *Engine) open(ctx context.Context, u protocol.UserID, f *protocol.OfflineFile) (io.ReadSeekCloser, error) {
	if !e.fetching.enter(u) {
		return nil, errMany
	}
	content, err := e.blobs.Open(ctx, f.Blob)
	if err != nil {
		e.fetching.leave(u)
		return nil, fmt.Errorf("open: %w", err)
	}
	return fetched{content, func() { e.fetching.leave(u) }}, nil
}

// download answers the pulls of a receiver, who may begin anywhere, until it has got the end [TT-FILE-8] [TT-FILE-11].
func (e *Engine) download(l *link, f protocol.OfflineFile, content io.ReadSeeker) error {
	at := uint32(0) // where content is
	for {
		p, err := e.next(l, pdu.MaxLenBeforeLogin)
		if err != nil {
			return err
		}
		switch p.Header.Command {
		case pdu.CmdFileState: // it has what it wants, or wants no more
			if _, how, err := stateFor(p, f.TaskID); err != nil || how != "" {
				return errors.Join(err, errOver)
			}
			continue
		case pdu.CmdFilePullReq:
		default:
			continue
		}
		m := new(pb.IMFilePullDataReq)
		if err := pdu.Unmarshal(p.Body, m); err != nil || m.GetTaskId() != f.TaskID || m.GetOffset() > f.Size {
			return errProtocol
		}
		if m.GetOffset() != at {
			if _, err := content.Seek(int64(m.GetOffset()), io.SeekStart); err != nil {
				return fmt.Errorf("seek: %w", err)
			}
		}
		if at, err = e.give(l, f, content, p.Header.Seq, m); err != nil {
			return err
		}
		if at == f.Size {
			l.send(pdu.CmdFileState, 0, state(pb.ClientFileState_CLIENT_FILE_DONE, f.TaskID, f.From))
			return errOver
		}
	}
}

// give sends the block that content is at, and returns where it is then.
func (e *Engine) give(l *link, f protocol.OfflineFile, content io.Reader, seq uint16, m *pb.IMFilePullDataReq) (uint32, error) {
	if !l.out.room(e.limits.Bytes) {
		return 0, errStalled
	}
	n := uint32(segment) // COMPAT: Windows asks for 34,816 bytes, and counts what it gets
	if l.bulk && m.GetDataSize() > 0 {
		n = min(m.GetDataSize(), maxBlock)
	}
	block := make([]byte, min(n, f.Size-m.GetOffset()))
	if _, err := io.ReadFull(content, block); err != nil {
		e.log.Warn("file not fetched to its end", "task", f.TaskID, "to", f.To, "blob", f.Blob, "offset", m.GetOffset(), "error", err)
		return 0, fmt.Errorf("read: %w", err)
	}
	e.metrics.bytes.WithLabelValues("fetched").Add(float64(len(block)))
	ok := l.send(pdu.CmdFilePullRes, seq, &pb.IMFilePullDataRsp{ResultCode: new(uint32(0)), TaskId: new(f.TaskID), UserId: new(uint32(f.To)),
		Offset: m.Offset, FileData: block})
	if !ok {
		return 0, errStalled
	}
	return m.GetOffset() + uint32(len(block)), nil
}

// pullReq is 0x0504 to the sender of a file, in the name of a user.
func pullReq(t *task, u protocol.UserID, offset, size uint32) *pb.IMFilePullDataReq {
	mode := pb.TransferFileType_FILE_TYPE_OFFLINE
	if t.online {
		mode = pb.TransferFileType_FILE_TYPE_ONLINE
	}
	return &pb.IMFilePullDataReq{TaskId: new(t.id), UserId: new(uint32(u)), TransMode: mode.Enum(), Offset: new(offset), DataSize: new(size)}
}
