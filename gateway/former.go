package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"teamtalk/protocol"
)

// displacedWait is how long a session waits for the former ones of its device.
const displacedWait = 2 * time.Second

// formers are the extended sessions that have ended, but of which a request may still be carried out.
type formers struct {
	mu sync.Mutex // guards by
	by map[deviceName][]*session
}

// deviceName tells the devices of all users apart.
type deviceName struct {
	user   protocol.UserID
	device protocol.DeviceID
}

func (s *session) deviceName() deviceName { return deviceName{s.user, s.ext.device} }

// add is called when the registry has forgotten a session; false: nothing of it is carried out any more.
func (f *formers) add(s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-s.ext.stopped:
		return false
	default:
		f.by[s.deviceName()] = append(f.by[s.deviceName()], s)
		return true
	}
}

// remove is called when nothing of a session is carried out any more; false: it was not there.
func (f *formers) remove(s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.by[s.deviceName()]
	rest := slices.DeleteFunc(of, func(o *session) bool { return o == s })
	if len(rest) == 0 {
		delete(f.by, s.deviceName())
	} else {
		f.by[s.deviceName()] = rest
	}
	return len(rest) < len(of)
}

func (f *formers) of(name deviceName) []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.by[name])
}

// stopped says that no request of the session is carried out any more.
func (s *session) stopped() {
	if s.ext == nil {
		return
	}
	close(s.ext.stopped)
	if s.srv.hub.formers.remove(s) {
		s.srv.absent(s)
	}
}

// awaitFormer waits until nothing of the former connections of this device is carried out any more, on whichever node: what its client sends now must
// not be overtaken by what it sent then. What they have parked is dropped, as the client repeats what has no ack [TT-SESS-3].
func (s *session) awaitFormer() {
	ctx, cancel := context.WithTimeout(s.ctx, displacedWait)
	defer cancel()
	for _, old := range s.srv.hub.formers.of(s.deviceName()) {
		old.parked.drop()
		select {
		case <-old.ext.stopped:
		case <-ctx.Done():
		}
	}
	if err := s.srv.presence.AwaitFormer(ctx, s.user, s.ext.device, s.id); errors.Is(err, context.DeadlineExceeded) {
		s.srv.log.Warn("the former session of a device has not stopped in time", "user", s.user, "device", s.ext.device, "conn", s.id)
	}
}
