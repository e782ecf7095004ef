package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// AddressMap is a module in the namespace msa.address_maps: it knows the actual address behind a
// logical one that clients use. Only the envelope of what a route's sink gets is
// translated, once for each attempt and never what was translated already; the stored
// message, replies and notifications have the logical addresses. Methods are called concurrently.
type AddressMap interface {
	// Actual returns the address that a recipient's message goes to; ok is false when the
	// map says nothing of it, so that it stays as it is. An error defers the delivery.
	Actual(ctx context.Context, logical mailaddr.Address) (actual string, ok bool, err error)
	// Logical returns the address that stands for a sender's actual one.
	Logical(ctx context.Context, actual mailaddr.Address) (logical string, ok bool, err error)
}
