package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"teamtalk/blobs"
	"teamtalk/protocol"
)

// buildBlobs makes what keeps pictures, voice messages and files; uploads are taken from then on.
func (n *Node) buildBlobs(ctx context.Context) error {
	dir := n.cfg.blobsDir()
	backend, err := n.blobBackend(ctx, dir)
	if err != nil {
		return err
	}
	events := n.bus.Subscribe("blobs")
	n.steps.started("subscription of blobs", func(context.Context) error { events.Close(); return nil })
	c := blobs.Config{
		Backend: backend, Temp: filepath.Join(dir, "tmp"), State: n.store, Node: protocol.NodeID(n.cfg.Node.ID), Abroad: blobsAbroad{n}, Events: events,
		UserQuota: uint64(n.cfg.Files.UserQuota), Quota: uint64(n.cfg.Files.Quota), Retention: n.cfg.Files.Retention, Unused: n.cfg.Files.Unused,
		MaxForeign: uint64(max(n.cfg.Files.MaxFile, n.cfg.Files.MaxUpload)),
		MinFree:    uint64(n.cfg.Store.MinFree), Log: n.log, Registerer: n.registry,
	}
	if n.peering.port != nil {
		c.Nodes = blobNodes{n}
	}
	if n.blobs, err = blobs.New(c); err != nil {
		return err
	}
	n.steps.started("blobs", func(context.Context) error { n.blobs.Close(); return nil })
	return nil
}

// blobsDir is where content is, and where it comes in.
func (c *Config) blobsDir() string {
	if c.Files.Dir != "" {
		return c.Files.Dir
	}
	return filepath.Join(c.Data, "blobs")
}

// blobBackend is where content is kept.
func (n *Node) blobBackend(ctx context.Context, dir string) (blobs.Backend, error) {
	s3 := n.cfg.Files.S3
	if s3.Endpoint == "" {
		disk, err := blobs.NewDisk(dir)
		if err != nil {
			return nil, fmt.Errorf("files.dir: %w: name a directory that this user may write to", err)
		}
		return disk, nil
	}
	access, err := secretFile(s3.AccessKeyFile)
	if err != nil {
		return nil, fmt.Errorf("files.s3.access_key_file: %w", err)
	}
	secret, err := secretFile(s3.SecretKeyFile)
	if err != nil {
		return nil, fmt.Errorf("files.s3.secret_key_file: %w", err)
	}
	store, err := blobs.NewS3(blobs.S3Config{Endpoint: s3.Endpoint, Bucket: s3.Bucket, Region: s3.Region, AccessKey: access, SecretKey: secret,
		Prefix: s3.Prefix, TLS: s3.TLS})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	if err := store.Check(ctx); err != nil { // people can talk without it, and it may come back
		n.log.Error("pictures and files can't be stored or read: files.s3 is not right, or the store is down", "error", err)
	}
	return store, nil
}

// secretFile is what a file holds, without the end of the line.
func secretFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// serveBlobs begins to copy blobs to this node, and to answer the others.
func (n *Node) serveBlobs(context.Context) error {
	n.background("work on blobs", n.blobs.Run)
	if n.peering.port != nil {
		n.background("blobs for other nodes", func(ctx context.Context) error { return n.blobs.Serve(ctx, n.peering.port.BlobListener()) })
	}
	return nil
}

// checkFiles refuses a store that is only half described.
func (c *Config) checkFiles() error {
	s3 := c.Files.S3
	switch {
	case s3.Endpoint == "":
		return nil
	case s3.Bucket == "":
		return errors.New("files.s3.endpoint is set and files.s3.bucket is not: name the bucket")
	case s3.AccessKeyFile == "" || s3.SecretKeyFile == "":
		return errors.New("files.s3.endpoint is set: set files.s3.access_key_file and files.s3.secret_key_file, too")
	}
	return nil
}

// blobNodes are the other nodes.
type blobNodes struct{ n *Node }

// Others are the members but this one, and whether the link to them is up.
func (b blobNodes) Others() map[protocol.NodeID]bool {
	others := map[protocol.NodeID]bool{}
	if mesh := b.n.peering.mesh.Load(); mesh != nil {
		for _, p := range mesh.Peers() {
			others[p.Node] = p.Up
		}
	}
	return others
}

// Dial opens a stream to one of them.
func (b blobNodes) Dial(ctx context.Context, node protocol.NodeID) (net.Conn, error) {
	return b.n.peering.port.DialBlob(ctx, node)
}

// blobsAbroad are the clusters of other offices.
type blobsAbroad struct{ n *Node }

// Fetch has the content of a blob of another office written.
func (b blobsAbroad) Fetch(ctx context.Context, peer [16]byte, id protocol.BlobID, offset uint64, w io.Writer) error {
	return b.n.abroad.manager.Fetch(ctx, peer, id, offset, w)
}
