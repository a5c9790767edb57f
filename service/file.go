package service

import (
	"context"

	"teamtalk/protocol"
)

// FileStore is what Files needs of the store.
type FileStore interface {
	Executor
	OfflineFiles(to protocol.UserID) ([]protocol.OfflineFile, error)
	UserByID(id protocol.UserID) (protocol.User, error)
	// MaySendFile refuses a file for somebody of another office that would not be accepted once it is stored here; nil for one's own people.
	MaySendFile(from, to protocol.UserID) error
}

// FileTransfers carries files between users.
type FileTransfers interface {
	// Offer prepares the transfer of a file of size bytes: the task that carries it, and whether that is done while both users are connected.
	Offer(ctx context.Context, from, to protocol.UserID, name string, size uint32, online bool) (task string, isOnline bool, err error)
	// IsTask reports whether an id was given by Offer, on whichever node and whenever.
	IsTask(id string) bool
}

// Files knows the files on their way from user to user.
type Files struct {
	store     FileStore
	transfers FileTransfers
}

// NewFiles makes the file rules over a store; transfers may be nil.
func NewFiles(store FileStore, transfers FileTransfers) *Files { return &Files{store, transfers} }

// Request asks to send a file of size bytes: the task that carries it, and whether that is done while both users are connected, which depends on the
// receiver too [TT-FILE-5]. CodeUnavailable if there is nothing to carry it [TT-FILE-1].
func (f *Files) Request(ctx context.Context, me, to protocol.UserID, name string, size uint32, online bool) (task string, isOnline bool, err error) {
	if err := f.checkFile(me, to, name); err != nil {
		return "", false, err
	}
	if f.transfers == nil {
		return "", false, protocol.Errorf(protocol.CodeUnavailable, "this server transfers no files")
	}
	if err := f.store.MaySendFile(me, to); err != nil { // [TT-FED-7]
		return "", false, wrap("request file transfer", err)
	}
	task, isOnline, err = f.transfers.Offer(ctx, me, to, name, size, online)
	return task, isOnline, wrap("request file transfer", err)
}

// Offline is the files that wait for the user [TT-FILE-2].
func (f *Files) Offline(_ context.Context, me protocol.UserID) ([]protocol.OfflineFile, error) {
	if err := signedIn(me); err != nil {
		return nil, err
	}
	files, err := f.store.OfflineFiles(me)
	return files, wrap("offline files", err)
}

// AddOffline notes that a file of the user's, of size bytes, waits for another, with a service that is not this one [TT-FILE-3]. What this one carries
// waits from when it is stored, whatever is said of it: by then the receiver may have fetched it [TT-FILE-6].
func (f *Files) AddOffline(ctx context.Context, me, to protocol.UserID, taskID, name string, size uint32) error {
	if err := protocol.CheckName("task id", taskID, protocol.MaxTaskID); err != nil {
		return err
	}
	if err := f.checkFile(me, to, name); err != nil {
		return err
	}
	if f.transfers != nil && f.transfers.IsTask(taskID) {
		return nil
	}
	if to >= protocol.MaxLocalID { // [TT-FED-7]
		return protocol.Errorf(protocol.CodeForbidden, "a file for somebody of another office has to be sent by this server")
	}
	file := protocol.OfflineFile{From: me, To: to, TaskID: taskID, Name: name, Size: size}
	return execute0(ctx, f.store, "add offline file", &protocol.AddOfflineFile{File: file})
}

// DeleteOffline forgets a waiting file; only its sender and its receiver may [TT-FILE-4] [TT-DIFF-20].
func (f *Files) DeleteOffline(ctx context.Context, actor, from, to protocol.UserID, taskID string) error {
	if err := signedIn(actor); err != nil {
		return err
	}
	if actor != from && actor != to {
		return protocol.Errorf(protocol.CodeForbidden, "neither sender nor receiver of the file")
	}
	if err := protocol.CheckName("task id", taskID, protocol.MaxTaskID); err != nil {
		return err
	}
	cmd := protocol.DeleteOfflineFile{Actor: actor, From: from, To: to, TaskID: taskID}
	return execute0(ctx, f.store, "delete offline file", &cmd)
}

// checkFile refuses files for nobody, for oneself and for those who left, and names that cannot be shown.
func (f *Files) checkFile(me, to protocol.UserID, name string) error {
	if err := signedIn(me); err != nil {
		return err
	}
	if me == to {
		return protocol.Errorf(protocol.CodeInvalid, "a file cannot go to oneself")
	}
	if err := protocol.CheckName("file name", name, protocol.MaxFileName); err != nil {
		return err
	}
	u, err := f.store.UserByID(to)
	if err != nil {
		return wrap("receiver", err)
	}
	if u.Status == protocol.StatusLeft {
		return protocol.Errorf(protocol.CodeNotFound, "user %d has left", to)
	}
	return nil
}
