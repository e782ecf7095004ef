package caddymsa

import (
	"context"
	"errors"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// UserKeeper is an optional interface of a backend whose users the operator can list and change.
type UserKeeper interface {
	// Users returns users in an order of their names that is the backend's, those behind a name, at most limit.
	Users(ctx context.Context, after string, limit int) ([]passwd.Summary, error)
	// User returns one by the name that a client would give, or ErrUnknownUser.
	User(ctx context.Context, name string) (passwd.Summary, error)
	// ChangeUser changes one, durably and whole or not at all; logins see it at once. A note says what the operator has to know. Errors:
	// ErrUnknownUser, passwd.ErrNoApp, passwd.ErrRefused, ErrNotChangeable; any other says that nobody knows.
	ChangeUser(ctx context.Context, name string, change passwd.Change) (note string, err error)
}

// ErrNotChangeable says that the backend is not configured to change that.
var ErrNotChangeable = errors.New("the backend cannot change that")
