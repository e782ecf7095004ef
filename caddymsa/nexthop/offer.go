package nexthop

import (
	"cmp"
	"context"
)

// Offer is what a hop says to one who has connected, begun TLS and logged in as messages would.
type Offer struct {
	Where
	// Size is how many octets a message may have that it takes; 0: it does not say.
	Size int64
	// Recipients is how many it takes at once (RFC 9422); 0: it does not say.
	Recipients int
	// DSN, EightBit and UTF8 tell whether it takes notifications' parameters, 8-bit content and internationalized addresses.
	DSN, EightBit, UTF8 bool
	// Verified tells that its certificate was found good.
	Verified bool
}

// Offer connects and takes its leave again, without a message. hello is the name to give in EHLO, where the options have none. An
// error is a *Failure.
func (h *Hop) Offer(ctx context.Context, hello string) (*Offer, error) {
	d := &delivery{hop: h, ctx: ctx}
	p, err := h.dial(ctx, cmp.Or(h.options.Helo, hello, "localhost"), h.options.TLSMode)
	if err != nil {
		return nil, d.failure(nil, err, true)
	}
	defer p.close(true)
	x := p.offers
	return &Offer{
		Where: d.where(p), Size: x.size, Recipients: x.maxRecipients, DSN: x.dsn, EightBit: x.eightBit, UTF8: x.utf8, Verified: p.verified,
	}, nil
}
