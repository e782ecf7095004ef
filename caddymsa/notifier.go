package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
)

// Notifier is a module in the namespace msa.notifiers: it tells others what became of messages. The app follows the
// journal for it, and calls it for each event again until it has returned nil: at least once, in order for each message.
type Notifier interface {
	// Notify returns nil once the receiver has the event. It is called concurrently, never for two events of one message at
	// a time, and returns soon after ctx ends. A *notify.RefusedError is about this event only, a *notify.UnreachableError about
	// the receiver, and a *notify.LaterError says when to try again; of any other error the app finds out which it is.
	Notify(ctx context.Context, e *notify.Event) error
	// Receiver says where events go. key tells receivers apart and is the same after a restart; label is a short name for log and
	// metrics without anything secret in it, such as a host.
	Receiver() (key, label string)
}

// UserNotifier is a Notifier that has a receiver for each user. It is called through NotifyUser instead, for one event of a user
// at a time, and a user who cannot be told holds up nobody else.
type UserNotifier interface {
	Notifier
	// NotifyUser is Notify, with the user's identity as its backend has it now. The event has nothing in it that is the operator's business.
	NotifyUser(ctx context.Context, e *notify.Event, who Identity) error
}
