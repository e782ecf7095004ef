package caddymsa

import "errors"

// ErrNotChangeable says that a backend is not configured to change that of its users. What it can be besides, for
// operators to list and change them, is a passwd.Keeper.
var ErrNotChangeable = errors.New("the backend cannot change that")
