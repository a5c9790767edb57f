package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"teamtalk/blobs"
	"teamtalk/bus"
	"teamtalk/gateway"
	"teamtalk/gateway/msfs"
	"teamtalk/internal/peers"
	"teamtalk/protocol"
	"teamtalk/raftstore/state"
)

// thumbsDir is where in the data directory pictures are that were made smaller. All of it can be made again.
const thumbsDir = "thumbs"

// formSize is how large a file in a legacy form may be, unless files.max_upload is set.
const formSize = 10 << 20 // bytes

// buildMedia makes what serves content over HTTP, once the cluster has the secret that its addresses are proved with.
func (n *Node) buildMedia() error {
	tickets, err := n.mediaTickets()
	if err != nil {
		return err
	}
	handler, err := msfs.New(msfs.Config{
		Store: contentStore{n.blobs, n.store}, Tickets: tickets, Base: n.mediaBase, Legacy: n.mayUseMedia(), Owner: n.clients.media.ownerOf, Active: n.isActive, Client: n.cfg.Proxies.Client,
		MaxUpload: uint64(n.cfg.Files.MaxUpload), MaxForm: n.cfg.maxForm(), Thumbs: filepath.Join(n.cfg.Data, thumbsDir),
		Log: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	events := n.bus.Subscribe("smaller pictures")
	n.steps.started("subscription of smaller pictures", func(context.Context) error { events.Close(); return nil })
	n.background("removal of smaller pictures", func(ctx context.Context) error { return forgetPictures(ctx, events, handler) })
	n.background("uploads", handler.Run)
	n.clients.media.handler, n.clients.media.max = handler, uint64(n.cfg.Files.MaxUpload)
	n.clients.media.tickets.Store(tickets)
	return nil
}

// mediaTickets makes and checks the addresses of content.
func (n *Node) mediaTickets() (*msfs.Tickets, error) {
	key, err := n.clusterKey("media")
	return msfs.NewTickets(key), err
}

// maxForm is how many bytes a file in a legacy form may have.
func (c *Config) maxForm() uint64 {
	if c.Origin("files.max_upload") != originDefault {
		return uint64(c.Files.MaxUpload)
	}
	return min(formSize, uint64(c.Files.MaxUpload))
}

// isActive reports whether somebody is in service: addresses of content live longer than the sessions that they were made for.
func (n *Node) isActive(u protocol.UserID) bool {
	user, err := n.store.UserByID(u)
	return err == nil && user.Status == protocol.StatusActive
}

// forgetPictures removes smaller pictures of what is gone.
func forgetPictures(ctx context.Context, events *bus.Subscription, h *msfs.Handler) error {
	h.Compare()
	for {
		happened, err := events.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range happened {
			switch e := ev.Body.(type) {
			case protocol.BlobsDropped:
				h.Forget(e.IDs)
			case protocol.Jumped:
				h.Compare()
			}
		}
	}
}

// media is what makes addresses of content for the clients of this node.
type media struct {
	node    *Node
	handler *msfs.Handler
	max     uint64                       // bytes of an upload; there once tickets are
	tickets atomic.Pointer[msfs.Tickets] // nil: the node is starting
	homes   homes
}

func (m *media) load() (*msfs.Tickets, error) {
	if t := m.tickets.Load(); t != nil {
		return t, nil
	}
	return nil, protocol.Errorf(protocol.CodeUnavailable, "this node is starting")
}

// Upload is where a file may be sent to.
func (m *media) Upload(me protocol.UserID, name string, size uint64, contentType string) (gateway.MediaAddresses, error) {
	t, err := m.load()
	if err != nil {
		return gateway.MediaAddresses{}, err
	}
	at := gateway.MediaAddresses{MaxBytes: m.max}
	if size > m.max {
		err = protocol.Errorf(protocol.CodeTooLarge, "%d bytes: at most %d", size, m.max)
	}
	if err == nil {
		err = m.node.blobs.Room(me, size)
	}
	if err != nil {
		return at, err
	}
	now := time.Now()
	url, expires, err := t.Upload(me, name, size, contentType, now)
	at.URLs, at.Expires = []string{url}, expires.Sub(now)
	return at, err
}

// Download is where content may be fetched from.
func (m *media) Download(me protocol.UserID, paths []string) (gateway.MediaAddresses, error) {
	t, err := m.load()
	if err != nil {
		return gateway.MediaAddresses{}, err
	}
	now := time.Now()
	var at gateway.MediaAddresses
	for _, path := range paths {
		url, expires, err := t.Download(me, path, now)
		if err != nil {
			return at, err
		}
		at.URLs, at.Expires = append(at.URLs, url), expires.Sub(now)
	}
	return at, nil
}

// Task is where the file of a task may be sent to or fetched from.
func (m *media) Task(me protocol.UserID, task string, write bool) (gateway.MediaAddresses, error) {
	t, err := m.load()
	if err != nil {
		return gateway.MediaAddresses{}, err
	}
	now := time.Now()
	url, expires := t.Task(me, task, write, now)
	return gateway.MediaAddresses{URLs: []string{url}, Expires: expires.Sub(now), MaxBytes: uint64(m.node.cfg.Files.MaxFile)}, nil
}

// Base is what legacy clients put in front of paths.
func (m *media) Base() string { return m.node.mediaBase() }

// mediaBase is where legacy clients find content, if this node speaks HTTP and knows under which name.
func (n *Node) mediaBase() string {
	if n.cfg.Public.MSFS != "" {
		return withSlash(n.cfg.Public.MSFS)
	}
	if base := n.httpBase(); base != "" {
		return base + "msfs/"
	}
	return ""
}

// httpBase is the root of this node's HTTP server as clients reach it: plain if there is that, because legacy clients know no other; empty without one.
func (n *Node) httpBase() string {
	host := n.publicHost()
	at := func(scheme string, port uint16) string {
		return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port))) + "/"
	}
	switch {
	case host == "":
		return ""
	case n.sockets.http != nil:
		return at("http", toldPort(n.cfg.Public.HTTPPort, n.sockets.http.Addr()))
	case n.sockets.tls != nil:
		return at("https", toldPort(n.cfg.Public.TLSPort, n.sockets.tls.Addr()))
	}
	return ""
}

func withSlash(url string) string {
	if url[len(url)-1] == '/' {
		return url
	}
	return url + "/"
}

// mountMedia adds what serves content.
func (n *Node) mountMedia(mux *http.ServeMux) {
	for _, pattern := range msfs.Patterns() {
		mux.Handle(pattern, n.clients.media.handler)
	}
}

// contentStore is the store of this cluster's content, as msfs sees it.
type contentStore struct {
	keeper *blobs.Keeper
	state  *state.Store
}

// Begin starts content that comes in.
func (c contentStore) Begin(ctx context.Context, u protocol.UserID, size uint64) (msfs.Draft, error) {
	d, err := c.keeper.Begin(ctx, u, size)
	if err != nil {
		return nil, noSpace(err)
	}
	return draft{d}, nil
}

// draft says in the words of msfs that the disk is full.
type draft struct{ *blobs.Draft }

// Write appends.
func (d draft) Write(b []byte) (int, error) {
	n, err := d.Draft.Write(b)
	return n, noSpace(err)
}

// Keep makes a draft a blob.
func (c contentStore) Keep(ctx context.Context, d msfs.Draft, b protocol.Blob) (protocol.Blob, error) {
	own, ok := d.(draft)
	if !ok {
		return b, fmt.Errorf("a draft of another store: %T", d)
	}
	kept, err := c.keeper.Keep(ctx, own.Draft, b)
	return kept, noSpace(err)
}

// Blob is what is recorded of a blob.
func (c contentStore) Blob(id protocol.BlobID) (protocol.Blob, error) {
	b, _, err := c.state.Blob(id)
	return b, err
}

// Open reads a blob, wherever it is.
func (c contentStore) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	content, err := c.keeper.Open(ctx, id)
	if err != nil {
		return nil, err // and not a pointer to nothing
	}
	return content, nil
}

func noSpace(err error) error {
	if errors.Is(err, blobs.ErrDiskFull) {
		return fmt.Errorf("%w: %w", msfs.ErrNoSpace, err)
	}
	return err
}

// mayUseMedia says who may send forms and fetch by bare paths; nil: everybody.
func (n *Node) mayUseMedia() func(context.Context, netip.Addr) bool {
	switch n.cfg.Files.LegacyAccess {
	case "open":
		return nil
	case "off":
		return func(context.Context, netip.Addr) bool { return false }
	}
	return n.clients.media.isHome
}

// For how long it counts what other nodes said of an address, and for how many addresses it is remembered.
const (
	homeFor   = time.Minute
	noHomeFor = 2 * time.Second // somebody logs in there now and asks for pictures at once
	homesMost = 10_000
	askFor    = time.Second
)

// homes remembers from where people are logged in on other nodes.
type homes struct {
	mu    sync.Mutex // guards what follows
	until map[netip.Prefix]home
}

type home struct {
	is    bool
	until time.Time
}

// isHome reports whether somebody is logged in from an address, on any node: the servers that are told of may be of two nodes.
func (m *media) isHome(ctx context.Context, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if _, is := m.node.gateway.HomeOf(a); is {
		return true
	}
	if known, is := m.homes.known(a, time.Now()); known {
		return is
	}
	is := false
	m.askHomes(ctx, a, func(protocol.UserID) bool {
		is = true
		return false // the others need not answer any more
	})
	m.homes.note(a, is, time.Now())
	return is
}

// ownerOf is the user who is logged in from an address, on whichever node; 0 if nobody is, or several are: what forms bring has to count as somebody's, and
// their clients don't say whose [TT-MSFS-6].
func (m *media) ownerOf(ctx context.Context, a netip.Addr) protocol.UserID {
	a = a.Unmap().WithZone("")
	owner, isKnown := m.node.gateway.HomeOf(a)
	if isKnown && owner == 0 {
		return 0
	}
	m.askHomes(ctx, a, func(u protocol.UserID) bool {
		if isKnown && owner != u {
			u = 0
		}
		owner, isKnown = u, true
		return owner != 0
	})
	return owner
}

// placeOf is what is remembered of an address: of IPv6 the network, as sessions are counted [TT-MSFS-6], or one machine could have the others asked for ever.
func placeOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	place, _ := a.Prefix(bits) // always so many
	return place
}

func (h *homes) known(a netip.Addr, now time.Time) (known, is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.until[placeOf(a)]
	return ok && now.Before(e.until), e.is
}

func (h *homes) note(a netip.Addr, is bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == nil || len(h.until) >= homesMost {
		h.until = make(map[netip.Prefix]home)
	}
	for_ := noHomeFor
	if is {
		for_ = homeFor
	}
	h.until[placeOf(a)] = home{is, now.Add(for_)}
}

// askHomes asks the other nodes whether somebody is logged in there from an address, and calls found for each that says so, with the user if there is one only, as
// long as found wants more.
func (m *media) askHomes(ctx context.Context, a netip.Addr, found func(protocol.UserID) bool) {
	mesh := m.node.peering.mesh.Load()
	if mesh == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	payload, _ := a.MarshalBinary() // addresses always can
	answers := make(chan []byte)
	asked := 0
	for node, isUp := range (blobNodes{m.node}).Others() {
		if !isUp {
			continue
		}
		asked++
		go func() { // ends with ctx; waited for below
			b, err := mesh.Call(ctx, node, peers.LaneControl, methodHome, payload)
			if err != nil {
				b = nil
			}
			answers <- b
		}()
	}
	more := true
	for range asked {
		if u, is := decodeHome(<-answers); is && more {
			if more = found(u); !more {
				cancel()
			}
		}
	}
}

// encodeHome is the answer of a node from which somebody is logged in at an address: 1 and the user in 4 bytes; else 0.
func encodeHome(of protocol.UserID, is bool) []byte {
	if !is {
		return []byte{0}
	}
	return binary.BigEndian.AppendUint32([]byte{1}, uint32(of))
}

func decodeHome(b []byte) (of protocol.UserID, is bool) {
	if len(b) != 5 || b[0] != 1 {
		return 0, false
	}
	return protocol.UserID(binary.BigEndian.Uint32(b[1:])), true
}

// serveHome answers another node.
func (n *Node) serveHome(payload []byte) ([]byte, error) {
	var a netip.Addr
	if err := a.UnmarshalBinary(payload); err != nil || !a.IsValid() {
		return nil, protocol.Errorf(protocol.CodeInvalid, "no address")
	}
	return encodeHome(n.gateway.HomeOf(a)), nil
}
