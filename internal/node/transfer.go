package node

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"teamtalk/blobs"
	"teamtalk/gateway/msfs"
	"teamtalk/gateway/transfer"
	"teamtalk/protocol"
	"teamtalk/service"
)

// buildTransfer makes what carries files from user to user, if clients have any way to it.
func (n *Node) buildTransfer(context.Context) error {
	if n.sockets.files == nil && n.sockets.http == nil && n.sockets.tls == nil && n.cfg.Listen.QUIC.Off() {
		return nil
	}
	n.clients.transfer = transfer.New(transfer.Config{Store: n.store, Blobs: fileBlobs{n.blobs}, Presence: n.bus.Presence(),
		Limits: transfer.Limits{File: uint32(min(n.cfg.Files.MaxFile, maxFile))}, Log: n.log, Registerer: n.registry})
	n.background("file transfers", n.clients.transfer.Run)
	return nil
}

// transfers is nil without the engine, and not an interface that holds nil.
func (n *Node) transfers() service.FileTransfers {
	if n.clients.transfer == nil {
		return nil
	}
	return n.clients.transfer
}

// fileAddresses is where clients find the port for files of this node.
func (n *Node) fileAddresses() []protocol.FileAddress {
	host := n.publicHost()
	if n.sockets.files == nil || host == "" {
		return nil
	}
	return []protocol.FileAddress{{Host: host, Port: toldPort(n.cfg.Public.FilesPort, n.sockets.files.Addr())}}
}

// mountTransfer adds what carries files over HTTP.
func (n *Node) mountTransfer(mux *http.ServeMux) {
	mux.Handle(msfs.TaskPath, n.clients.transfer.Handler(n.taskTicket))
}

// taskTicket finds out whose request for a task it is. With an address to send to, one may ask how much has come.
func (n *Node) taskTicket(r *http.Request) (transfer.Ticket, error) {
	tickets, err := n.clients.media.load()
	if err != nil {
		return transfer.Ticket{}, err
	}
	ticket := transfer.Ticket{Task: strings.TrimPrefix(r.URL.Path, msfs.TaskPath), Upload: true}
	query, now := r.URL.Query(), time.Now()
	if ticket.User, err = tickets.CheckTask(ticket.Task, true, query, now); err != nil && r.Method != http.MethodPost {
		ticket.Upload = false
		ticket.User, err = tickets.CheckTask(ticket.Task, false, query, now)
	}
	if err == nil && !n.isActive(ticket.User) { // [TT-MEDIA-2]
		err = protocol.Errorf(protocol.CodeForbidden, "this user may not use the server any more")
	}
	return ticket, err
}

// fileBlobs keeps the content of files that wait.
type fileBlobs struct{ *blobs.Keeper }

// Begin starts a file that comes in.
func (b fileBlobs) Begin(ctx context.Context, u protocol.UserID, size uint64) (transfer.Draft, error) {
	d, err := b.Keeper.Begin(ctx, u, size)
	if err != nil {
		return nil, err
	}
	return fileDraft{d, b.Keeper}, nil
}

// Open reads a file, wherever it is.
func (b fileBlobs) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	content, err := b.Keeper.Open(ctx, id)
	if err != nil {
		return nil, err // and not a pointer to nothing
	}
	return content, nil
}

// fileDraft is a file that comes in.
type fileDraft struct {
	*blobs.Draft
	keeper *blobs.Keeper
}

// Keep stores it.
func (d fileDraft) Keep(ctx context.Context, b protocol.Blob) (protocol.BlobID, error) {
	kept, err := d.keeper.Keep(ctx, d.Draft, b)
	return kept.ID, err
}
