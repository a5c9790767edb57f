package client

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

const (
	watchMost  = 1000 // users whose presence a session may follow [TT-SESS-10]
	watchBatch = 300  // asked for at once
)

// watch knows whose presence the app follows, and what it was told. A new connection has to be asked again.
type watch struct {
	mu    sync.Mutex                  // guards users
	users map[protocol.UserID]whether // online
}

// whether somebody is online, as the app knows it.
type whether uint8

const (
	unknown whether = iota // its first answer is on the way
	online
	offline
)

func newWatch() *watch { return &watch{users: make(map[protocol.UserID]whether)} }

// add follows more users; false if that is too many.
func (w *watch) add(users []protocol.UserID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	more := 0
	for _, u := range users {
		if _, ok := w.users[u]; !ok {
			more++
		}
	}
	if len(w.users)+more > watchMost {
		return false
	}
	for _, u := range users {
		if _, ok := w.users[u]; !ok {
			w.users[u] = unknown
		}
	}
	return true
}

// told notes what the app is being told; false if that is no change: it knows, or has not got the answer to its question yet.
func (w *watch) told(p *Presence) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, ok := w.users[p.User]
	if !ok {
		return false
	}
	is := offline
	if p.Online {
		is = online
	}
	w.users[p.User] = is
	return was != unknown && was != is
}

// again asks for everybody on a new connection; the app is told what has changed meanwhile.
func (w *watch) again(e *engine) {
	w.mu.Lock()
	all := make([]protocol.UserID, 0, len(w.users))
	for u := range w.users {
		all = append(all, u)
	}
	w.mu.Unlock()
	slices.Sort(all)
	for batch := range slices.Chunk(all, watchBatch) {
		// Fails only when the client has been stopped.
		_ = e.requests.add(&request{
			command: pdu.CmdUsersStatusReq, answer: pdu.CmdUsersStatusRes, body: statusRequest(e.keeper.me(), batch),
			then: func(resp proto.Message, err error) {
				answer, ok := resp.(*pb.IMUsersStatRsp)
				if err != nil || !ok {
					return // the next connection asks again
				}
				for _, u := range answer.GetUserStatList() {
					if p := presenceOf(u); w.told(p) {
						e.events.put(item{event: p})
					}
				}
			},
		})
	}
}

func statusRequest(me protocol.UserID, users []protocol.UserID) *pb.IMUsersStatReq {
	return &pb.IMUsersStatReq{UserId: proto.Uint32(uint32(me)), UserIdList: wireUserIDs(users)}
}

func wireUserIDs(list []protocol.UserID) []uint32 {
	ids := make([]uint32, len(list))
	for i, u := range list {
		ids[i] = uint32(u)
	}
	return ids
}
