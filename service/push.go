package service

import (
	"context"

	"teamtalk/protocol"
)

// DeviceStore is what Devices needs of the store.
type DeviceStore interface {
	Executor
	PushShield(u protocol.UserID) (bool, error)
}

// Devices knows where notifications for users' mobiles go, and when they are not wanted.
type Devices struct{ store DeviceStore }

// NewDevices makes the device rules over a store.
func NewDevices(store DeviceStore) *Devices { return &Devices{store} }

// Register tells where notifications for the user's mobile go; an empty token unregisters. CodeForbidden for a PC, which
// gets none and must not silence the mobile [TT-LOGIN-8] [TT-LOGIN-9].
func (d *Devices) Register(ctx context.Context, me protocol.UserID, client protocol.ClientType, token string) error {
	if err := signedIn(me); err != nil {
		return err
	}
	if !client.IsMobile() {
		return protocol.Errorf(protocol.CodeForbidden, "only mobiles register for notifications")
	}
	if err := protocol.CheckLine("device token", token, protocol.MaxDeviceToken); err != nil {
		return err
	}
	return execute0(ctx, d.store, "register device", &protocol.RegisterDevice{User: me, Client: client, Token: token})
}

// SetPushShield switches the user's nightly silence [TT-LOGIN-10].
func (d *Devices) SetPushShield(ctx context.Context, me protocol.UserID, on bool) error {
	if err := signedIn(me); err != nil {
		return err
	}
	return execute0(ctx, d.store, "set push shield", &protocol.SetPushShield{User: me, On: on})
}

// PushShield reports whether the user wants nightly silence [TT-LOGIN-10].
func (d *Devices) PushShield(_ context.Context, me protocol.UserID) (bool, error) {
	if err := signedIn(me); err != nil {
		return false, err
	}
	on, err := d.store.PushShield(me)
	return on, wrap("push shield", err)
}
