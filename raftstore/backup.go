package raftstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A backup is one stream:
//
//	8 bytes  "TTBACKUP"
//	1 byte   version, 1
//	4 bytes  length of the header, little endian
//	         the header: a BackupInfo in JSON
//	         the state file, as many bytes as the header says
//	32 bytes SHA-256 of all that comes before
const (
	backupMagic   = "TTBACKUP"
	backupVersion = 1
	maxHeader     = 1 << 16
	backupPrefix  = len(backupMagic) + 1 + 4
)

// BackupInfo says what a backup holds.
type BackupInfo struct {
	Cluster string    `json:"cluster,omitempty"` // what Config.ClusterName read
	Node    NodeID    `json:"node"`              // who made it
	Program string    `json:"program"`           // and its version
	Index   uint64    `json:"index"`             // the last log entry in it
	Term    uint64    `json:"term"`
	Time    time.Time `json:"time"`
	Size    int64     `json:"size"` // of the state file, in bytes
}

// Backup writes a consistent copy of this node's state, as of one log position, while the node goes on. Until it is written
// the state file can't reuse what is freed, so a slow writer makes it grow. Secrets in the state are in the copy.
func (s *Store) Backup(ctx context.Context, to io.Writer) (BackupInfo, error) {
	info, err := s.backup(ctx, to)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("backup: %w", err)
	}
	s.log.Info("backup written", "node", s.cfg.NodeID, "index", info.Index, "bytes", info.Size)
	return info, nil
}

func (s *Store) backup(ctx context.Context, to io.Writer) (info BackupInfo, err error) {
	file := s.state.acquire()
	if file == nil {
		return BackupInfo{}, errClosed()
	}
	defer s.state.release(file)
	calm := alert()
	defer calm()
	defer s.fsm.damages.reading(file.db, &err)
	tx, err := file.db.Begin(false)
	if err != nil {
		return BackupInfo{}, err
	}
	defer func() { _ = tx.Rollback() }()
	meta, err := readMeta(tx)
	if err != nil {
		return BackupInfo{}, err
	}
	info = BackupInfo{Node: s.cfg.NodeID, Program: s.cfg.Version, Index: meta.index, Term: meta.term, Time: s.cfg.Clock().UTC(),
		Size: tx.Size()}
	if s.cfg.ClusterName != nil {
		if info.Cluster, err = s.cfg.ClusterName(tx); err != nil {
			return info, err
		}
	}
	w := &sumWriter{ctx: ctx, to: to, sum: sha256.New(), stop: s.closed}
	if err := writeHeader(w, info); err != nil {
		return info, err
	}
	if n, err := tx.WriteTo(w); err != nil {
		return info, err
	} else if n != info.Size {
		return info, fmt.Errorf("the state has %d bytes, %d were expected", n, info.Size)
	}
	_, err = to.Write(w.sum.Sum(nil))
	return info, err
}

func writeHeader(w io.Writer, info BackupInfo) error {
	header, err := json.Marshal(info)
	if err != nil {
		return err
	}
	b := append([]byte(backupMagic), backupVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	_, err = w.Write(append(b, header...))
	return err
}

// sumWriter writes and sums until its context or the store ends.
type sumWriter struct {
	ctx  context.Context
	to   io.Writer
	sum  hash.Hash
	stop <-chan struct{}
}

// Write writes the next bytes.
func (w *sumWriter) Write(p []byte) (int, error) {
	select {
	case <-w.ctx.Done():
		return 0, context.Cause(w.ctx)
	case <-w.stop:
		return 0, errClosed()
	default:
	}
	w.sum.Write(p)
	return w.to.Write(p)
}

var errNoBackup = errors.New("this is no backup of TeamTalk, or it is damaged")

// readBackup reads a backup and writes its state file to a writer.
func readBackup(from io.Reader, to io.Writer) (BackupInfo, error) {
	sum := sha256.New()
	r := io.TeeReader(from, sum)
	info, err := readHeader(r)
	if err != nil {
		return info, err
	}
	if n, err := io.Copy(to, io.LimitReader(r, info.Size)); err != nil {
		return info, err
	} else if n != info.Size {
		return info, fmt.Errorf("the backup was cut off: %d bytes of %d", n, info.Size)
	}
	want := sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil {
		return info, fmt.Errorf("the backup was cut off: %w", err)
	}
	if !bytes.Equal(got, want) {
		return info, errors.New("checksum of the backup does not match")
	}
	return info, nil
}

// ReadBackupInfo reads the beginning of a backup. What it says is only certain once all of it was checked.
func ReadBackupInfo(from io.Reader) (BackupInfo, error) { return readHeader(from) }

func readHeader(r io.Reader) (info BackupInfo, err error) {
	b := make([]byte, backupPrefix)
	if _, err := io.ReadFull(r, b); err != nil || string(b[:len(backupMagic)]) != backupMagic {
		return info, errNoBackup
	}
	if v := b[len(backupMagic)]; v != backupVersion {
		return info, fmt.Errorf("the backup has version %d, this program knows version %d", v, backupVersion)
	}
	n := binary.LittleEndian.Uint32(b[len(backupMagic)+1:])
	if n > maxHeader {
		return info, errNoBackup
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return info, errNoBackup
	}
	if err := json.Unmarshal(header, &info); err != nil || info.Size <= 0 || info.Index == 0 {
		return info, errNoBackup
	}
	return info, nil
}
