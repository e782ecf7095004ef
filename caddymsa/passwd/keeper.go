package passwd

import "context"

// Keeper is an optional interface of an auth backend (package caddymsa) whose users the operator can list and change. It is here, with what
// it speaks of, because the contracts are what every module carries.
type Keeper interface {
	// Users returns users in an order of their names that is the backend's, those behind a name, at most limit.
	Users(ctx context.Context, after string, limit int) ([]Summary, error)
	// User returns one by the name that a client would give, or caddymsa.ErrUnknownUser.
	User(ctx context.Context, name string) (Summary, error)
	// ChangeUser changes one, durably and whole or not at all; logins see it at once. A note says what the operator has to know. Errors:
	// caddymsa.ErrUnknownUser, ErrNoApp, ErrRefused, caddymsa.ErrNotChangeable; any other says that nobody knows.
	ChangeUser(ctx context.Context, name string, change Change) (note string, err error)
}

// AppKeeper is a Keeper that has application passwords alone, of users who live elsewhere.
type AppKeeper interface {
	Keeper
	// Knows says how the name is spelled of a user who can be given an application password, or caddymsa.ErrUnknownUser.
	Knows(ctx context.Context, name string) (spelled string, err error)
}
