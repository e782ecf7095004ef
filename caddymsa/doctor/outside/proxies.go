package outside

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// claim is what a balancer says of its client (HAProxy's PROXY protocol, version 1).
const claim = "PROXY TCP4 192.0.2.1 192.0.2.2 1025 587\r\n"

// proxied looks whether this address may claim to be another's balancer. What a server does with a claim that it swallows cannot be
// seen; of ours it is known from within.
func (p port) proxied(ctx context.Context) *doctor.Notes {
	n := p.about("proxies")
	if p.implicit || p.Ours { // whoever is believed on one port is on the other, and a handshake cannot tell
		return n
	}
	c, err := p.dial(ctx)
	if err != nil {
		return n
	}
	defer c.close()
	c.watch(ctx)
	if c.send(claim+"QUIT\r\n") != nil {
		return n
	}
	if r, err := c.reply(); err != nil || r.code != 220 {
		return n // it does not like that somebody speaks first: nothing is believed
	}
	if r, err := c.reply(); err == nil && r.code == 221 {
		n.Warn("see that only the balancers' addresses are believed (Postfix: smtpd_upstream_proxy_protocol on a port of its own; Exim: hosts_proxy)",
			"it swallows a PROXY header that comes from here: if it believes it, whoever connects can pretend to be any client, and is never blocked")
		return n
	}
	n.OK("it does not believe a PROXY header that comes from here")
	return n
}
