// Package hops looks at the next hops of routes: whether they can be reached, with TLS and a log-in, and what they announce.
package hops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// Look connects to a hop as messages would, sends none, and says what comes of it. hello is the server's name, size how many octets
// its messages may have.
func Look(ctx context.Context, h *nexthop.Hop, subject, hello string, size int64) []doctor.Finding {
	n := doctor.About("routes", subject)
	offer, err := h.Offer(ctx, hello)
	if err != nil {
		unreachable(n, h, err)
		return n.Findings
	}
	if offer.Size > 0 && offer.Size < size {
		n.Warn("lower limits { message_size } to that, so that clients hear of it at once, or have the next hop raise its limit",
			"%s takes messages of up to %d octets, and this server of up to %d: those in between bounce", h.Address, offer.Size, size)
	}
	if !offer.EightBit {
		n.Warn("have the next hop offer 8BITMIME: messages with 8-bit content bounce (5.6.3)", "%s does not offer 8BITMIME", h.Address)
	}
	if n.Clean() {
		text := "in clear"
		if offer.TLS != "" {
			text = offer.TLS + ", certificate not checked"
		}
		if offer.Verified {
			text = offer.TLS
		}
		n.OK("%s takes messages (%s)%s", h.Address, text, announced(offer))
	}
	return n.Findings
}

func announced(o *nexthop.Offer) (text string) {
	if o.Size > 0 {
		text += fmt.Sprintf("; up to %d octets", o.Size)
	}
	if o.Recipients > 0 {
		text += fmt.Sprintf("; up to %d recipients at once", o.Recipients)
	}
	if !o.DSN {
		text += "; without DSN, so that notifications of success come from this server"
	}
	return text
}

// unreachable names what is in the way, and what to do.
func unreachable(n *doctor.Notes, h *nexthop.Hop, err error) {
	failure := nexthop.AsFailure(err)
	remedy := "see the log of the next hop"
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &dns) && !dns.IsNotFound:
		remedy = "see why this machine's name server does not answer, or which one it has (/etc/resolv.conf); else correct the host in the route, or its record in DNS"
	case errors.As(err, &dns):
		remedy = "correct the host in the route, or its record in DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		remedy = "start the next hop, or correct host and port in the route"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		remedy = "a firewall is in between (many networks let nobody out on port 25), or the next hop hangs"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		remedy = "start the mail store, correct the path of its socket, or let the user that Caddy runs as use it"
	case errors.As(err, &unknown):
		remedy = "name the CA of the next hop with ca, in the route's block"
	case errors.As(err, &name):
		remedy = "name the host as its certificate does, or give the certificate's name with server_name"
	case errors.As(err, &invalid):
		remedy = "have the next hop renew its certificate"
	case errors.As(err, &header):
		remedy = "the port begins in clear: use tls required, or the port with TLS from the first octet (465)"
	case failure != nil && failure.Reply != nil && slices.Contains([]int{504, 530, 534, 535}, failure.Reply.Code):
		remedy = "correct username, password and mechanism in auth, in the route's block"
	case failure != nil && failure.Reply != nil:
		remedy = "the reply says what the next hop has against this server: its address, its name (helo), or too many connections"
	}
	n.Wrong(remedy, "messages wait: %v", err)
}
