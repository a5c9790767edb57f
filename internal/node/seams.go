package node

import (
	"teamtalk/blobs"
	"teamtalk/bus"
	"teamtalk/federation"
	"teamtalk/gateway"
	"teamtalk/gateway/msfs"
	"teamtalk/gateway/transfer"
	"teamtalk/gateway/transport/longpoll"
	"teamtalk/internal/admin"
	"teamtalk/internal/cluster"
	"teamtalk/raftstore"
	"teamtalk/raftstore/state"
	"teamtalk/service"
)

// Every seam between parts that do not know each other: on the left the interface of the one who needs it, on the right who has it.
var (
	_ service.AccountStore   = (*state.Store)(nil)
	_ service.MessageStore   = (*state.Store)(nil)
	_ service.BurnStore      = (*state.Store)(nil)
	_ service.BuddyStore     = (*state.Store)(nil)
	_ service.GroupStore     = (*state.Store)(nil)
	_ service.FileStore      = (*state.Store)(nil)
	_ service.DeviceStore    = (*state.Store)(nil)
	_ service.AdminDirectory = (*state.Store)(nil)
	_ service.AdminGroups    = (*state.Store)(nil)

	_ gateway.Accounts = (*service.Accounts)(nil)
	_ gateway.Devices  = (*service.Devices)(nil)
	_ gateway.Buddies  = (*service.Buddies)(nil)
	_ gateway.Messages = (*service.Messages)(nil)
	_ gateway.Groups   = (*service.Groups)(nil)
	_ gateway.Files    = (*service.Files)(nil)
	_ gateway.Sessions = (*service.Sessions)(nil)

	_ service.FileTransfers = (*transfer.Engine)(nil)
	_ transfer.Store        = (*state.Store)(nil)
	_ transfer.Blobs        = fileBlobs{}
	_ transfer.Draft        = fileDraft{}
	_ transfer.Presence     = (*bus.Presence)(nil)

	_ gateway.Events   = (*bus.Subscription)(nil)
	_ gateway.Signals  = (*bus.SignalSubscription)(nil)
	_ gateway.Signaler = (*bus.Bus)(nil)
	_ gateway.Presence = (*bus.Presence)(nil)
	_ gateway.Replica  = (*state.Store)(nil)
	_ gateway.Replay   = (*state.Store)(nil)

	_ gateway.Media     = (*media)(nil)
	_ msfs.Store        = contentStore{}
	_ msfs.Draft        = draft{}
	_ service.BlobStore = (*state.Store)(nil)

	_ gateway.Displaced = (*bus.DisplacedSubscription)(nil)
	_ longpoll.Peers    = forwardPolls{}
	_ bus.Peers         = (*peering)(nil)

	_ raftstore.Publisher = (*bus.Bus)(nil)
	_ raftstore.Forwarder = (*peering)(nil)

	_ cluster.Store  = members{}
	_ cluster.Local  = local{}
	_ cluster.Papers = papers{}
	_ admin.Backups  = backups{}

	_ admin.Users       = (*service.Admin)(nil)
	_ admin.Departments = (*service.Admin)(nil)
	_ admin.Groups      = (*service.Admin)(nil)
	_ admin.Federation  = (*federation.Manager)(nil)

	_ service.Hubs   = (*federation.Manager)(nil)
	_ service.Abroad = (*federation.Manager)(nil)

	_ federation.State    = (*state.Store)(nil)
	_ federation.Events   = (*bus.Subscription)(nil)
	_ federation.Signals  = (*bus.SignalSubscription)(nil)
	_ federation.Signaler = (*bus.Bus)(nil)
	_ federation.Presence = (*bus.Presence)(nil)
	_ federation.Files    = (*state.Store)(nil)
	_ federation.Blobs    = lentBlobs{}

	_ blobs.State  = (*state.Store)(nil)
	_ blobs.Nodes  = blobNodes{}
	_ blobs.Abroad = blobsAbroad{}
	_ blobs.Events = (*bus.Subscription)(nil)

	_ demoStore = (*service.Admin)(nil)
)
