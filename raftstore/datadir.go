package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The data directory:
//
//	LOCK              held with flock while a process uses the directory; holds its pid
//	VERSION           format of the directory, program that made it, node it belongs to
//	raft.db           raft's log, term and vote
//	state-000001.db   the state; the number rises when an installed snapshot replaces it
//	install.tmp       a snapshot being received
//	DAMAGED           why the node ended, if a file was damaged: the next start looks at everything
//	*.new             a file being made
const (
	dirFormat   = 1
	lockName    = "LOCK"
	versionName = "VERSION"
	logName     = "raft.db"
	installName = "install.tmp"
	damagedName = "DAMAGED"
	newSuffix   = ".new"
)

// dataDir is a locked data directory.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir creates the directory if needed, locks it and checks that it is this node's and not of a newer format.
func openDataDir(path string, node NodeID, program string) (*dataDir, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.checkVersion(node, program); err != nil {
		return nil, errors.Join(err, d.close())
	}
	for _, leftover := range []string{installName, logName + newSuffix, versionName + newSuffix} {
		if err := os.Remove(d.file(leftover)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("data directory %s can't be written: %w", path, err), d.close())
		}
	}
	return d, nil
}

func lockDir(path string) (*os.File, error) {
	name := filepath.Join(path, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s can't be written: check its owner, mode and mount options: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		pid, _ := os.ReadFile(name)
		return nil, fmt.Errorf("data directory %s is in use by another process (pid %s)", path, strings.TrimSpace(string(pid)))
	}
	// The pid only helps whoever reads the error above: a full disk is no reason not to start.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

func (d *dataDir) checkVersion(node NodeID, program string) error {
	b, err := os.ReadFile(d.file(versionName))
	if errors.Is(err, os.ErrNotExist) {
		return d.writeVersion(node, program)
	}
	if err != nil {
		return fmt.Errorf("read version of data directory: %w", err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields[key] = value
	}
	format, err := strconv.Atoi(fields["format"])
	if err != nil || format < 1 {
		return fmt.Errorf("%s is damaged: restore it, or remove this node from the cluster and let it join anew", d.file(versionName))
	}
	if format > dirFormat {
		return fmt.Errorf("data directory %s has format %d, written by version %s; this program (version %s) knows formats up to %d: "+
			"run the newer version", d.path, format, fields["program"], program, dirFormat)
	}
	if fields["node"] != string(node) {
		return fmt.Errorf("data directory %s belongs to node %q, not %q: a vote given under one name must not be forgotten under another",
			d.path, fields["node"], node)
	}
	return nil
}

func (d *dataDir) writeVersion(node NodeID, program string) error {
	states, err := d.stateFiles()
	if err != nil {
		return err
	}
	if len(states) > 0 || exists(d.file(logName)) {
		return fmt.Errorf("data directory %s has data but no %s file: restore it, or remove this node from the cluster and let it join anew",
			d.path, versionName)
	}
	text := fmt.Sprintf("format %d\nprogram %s\nnode %s\n", dirFormat, program, node)
	tmp := d.file(versionName + newSuffix)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write version of data directory: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write version of data directory: %w", err)
	}
	if err := syncAbove(d.path); err != nil {
		return err
	}
	return d.rename(tmp, versionName)
}

// syncAbove makes it durable that a new directory is there, and those above it, which may be new too: if it were gone after a loss of power, this node
// would have forgotten its votes. A directory that may not be read was not made by this process.
func syncAbove(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for above := filepath.Dir(path); ; above = filepath.Dir(above) {
		f, err := os.Open(above)
		if errors.Is(err, os.ErrPermission) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		err = errors.Join(f.Sync(), f.Close())
		if errors.Is(err, syscall.EIO) {
			return fmt.Errorf("sync %s: %w", above, err)
		}
		if above == filepath.Dir(above) {
			return nil
		}
	}
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

// rename puts a finished file in its place, durably.
func (d *dataDir) rename(from, name string) error {
	if err := os.Rename(from, d.file(name)); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return d.sync()
}

func (d *dataDir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

// close gives the lock back.
func (d *dataDir) close() error { return d.lock.Close() }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
