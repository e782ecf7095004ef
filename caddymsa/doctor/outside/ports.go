package outside

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// reach says whether a port can be reached, and whether it is the one that is meant.
func (p port) reach(ctx context.Context) (notes *doctor.Notes, speaks bool) {
	n := p.about("ports")
	c, greeting, err := p.open(ctx)
	if err != nil {
		p.unreachable(ctx, n, greeting, err)
		return n, false
	}
	defer c.quit()
	p.greeted(n, greeting.lines[0])
	if !p.implicit {
		p.middlebox(n, c)
	}
	return n, true
}

// greeted compares the greeting with what is expected of R-01: 220 <hostname> ESMTP.
func (p port) greeted(n *doctor.Notes, text string) {
	name, rest, _ := strings.Cut(text, " ")
	switch {
	case strings.Contains(text, "***"):
		n.Wrong("switch SMTP inspection off in the firewall (Cisco calls it fixup or inspect esmtp): it hides STARTTLS too",
			"a device between here and the server rewrites what it says: the greeting is %q", short(text))
	case p.Hostname != "" && !strings.EqualFold(name, p.Hostname):
		n.Wrong(p.anotherServer(), "it greets as %q, not as %s%s", short(name), p.Hostname, listener(p.address))
	case !strings.Contains(strings.ToUpper(rest), "ESMTP"):
		n.Warn("have the greeting be: 220 <hostname> ESMTP", "R-01: the greeting does not say ESMTP, so that old clients do not say EHLO: %q", short(text))
	case p.implicit:
		n.OK("R-02: TLS from the first octet, then the greeting: 220 %s", short(text))
	default:
		n.OK("R-01: it greets: 220 %s", short(text))
	}
}

func (p port) anotherServer() string {
	if p.Ours {
		return "another mail server has the port, or the address leads elsewhere: stop that server (systemctl disable --now postfix, for one), give caddy-msa another address with listen, or correct the address"
	}
	return "name the host that the server calls itself, or have the server call itself as its clients do (Postfix: myhostname; Exim: primary_hostname)"
}

func (p port) anotherProgram() string {
	if p.Ours {
		return "another program has the port: stop it or have it listen elsewhere, or give caddy-msa another address with listen"
	}
	return "another program has the port, or what is in front (a balancer, a proxy for web sites) leads elsewhere: have it pass TCP through to the submission server"
}

// middlebox looks for what devices on the way make of STARTTLS.
func (p port) middlebox(n *doctor.Notes, c *conversation) {
	r, err := c.ehlo()
	if err != nil {
		return // which other checks meet too
	}
	for _, line := range r.lines[min(1, len(r.lines)):] {
		if word, _, _ := strings.Cut(line, " "); len(word) > 3 && strings.Trim(word[:len(word)-1], "Xx") == "" {
			n.Wrong("switch SMTP inspection off in the firewall (Cisco calls it fixup or inspect esmtp), or have clients use the port with TLS from the first octet",
				"a device between here and the server hides extensions: EHLO is answered with %q", short(line))
			return
		}
	}
}

// unreachable says why there was no greeting.
func (p port) unreachable(ctx context.Context, n *doctor.Notes, greeting reply, err error) {
	opened := "open it in the firewall, for clients where they are"
	var header tls.RecordHeaderError
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown):
		n.Wrong("publish an address of the host, or correct the name", "the name cannot be resolved: %s", short(unknown.Error()))
	case errors.Is(err, syscall.ECONNREFUSED):
		remedy := "start the server, or have it listen there"
		if p.Ours {
			remedy = "is Caddy running with this configuration? See listen and listen_tls, and " + opened
		}
		n.Wrong(remedy, "nobody listens there: the connection is refused")
	case greeting.code != 0 && greeting.code != 220:
		n.Wrong("the reply says why: too many clients (raise limits, or find who they are), this address is blocked, or the port is for a balancer that sends PROXY headers: look at it through the balancer", "it does not let clients in: %s", greeting)
	case p.implicit && errors.As(err, &header):
		n.Wrong(p.otherWay("listen_tls"), "R-02: it does not begin with TLS, but answers in clear: %q", short(string(header.RecordHeader[:])))
	case p.implicit && errors.Is(err, io.EOF), p.implicit && errors.Is(err, syscall.ECONNRESET):
		n.Wrong(p.otherWay("listen_tls"), "R-02: it hangs up on the TLS handshake")
	case p.implicit && silent(err):
		n.Wrong("look at the server's log; something else may have the port"+listener(p.address), "it accepts connections and does not answer the TLS handshake")
	case p.implicit && alerted(err):
		n.Wrong(p.noTLS(), "R-02: no TLS: %s", short(err.Error()))
	case p.implicit:
		n.Wrong(p.otherWay("listen_tls")+"; see the server's log", "R-02: no TLS: %s", short(err.Error()))
	case silent(err):
		p.mute(ctx, n)
	case errors.Is(err, errNotSMTP):
		n.Wrong(p.anotherProgram(), "%s%s", short(err.Error()), listener(p.address))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		n.Wrong("the server's log says why: too many clients from this address, or an address that is not welcome", "it hangs up before the greeting")
	default:
		n.Wrong(opened+"; is the host up, and the address right?", "it cannot be reached: %s", short(err.Error()))
	}
}

// alerted tells whether the other side refused the handshake in TLS's own words: it speaks TLS, and has no certificate, say.
func alerted(err error) bool {
	op, found := errors.AsType[*net.OpError](err)
	return found && op.Op == "remote error"
}

// otherWay is the remedy for a port that begins TLS the other way.
func (p port) otherWay(setting string) string {
	if p.Ours {
		return "the address belongs to " + setting + " in the Caddyfile, or another server has the port"
	}
	if setting == "listen_tls" {
		return "have TLS begin with the first octet there (Postfix: smtpd_tls_wrappermode=yes in master.cf; Exim: tls_on_connect_ports), or look at it as a STARTTLS port"
	}
	return "have TLS begin with STARTTLS there (Postfix: smtpd_tls_wrappermode=no; Exim: not in tls_on_connect_ports), or look at it as a port with implicit TLS"
}

// mute looks whether a STARTTLS port that says nothing waits for TLS.
func (p port) mute(ctx context.Context, n *doctor.Notes) {
	p.implicit = true
	c, _, err := p.open(ctx)
	var header tls.RecordHeaderError
	switch {
	case err == nil:
		c.quit()
		n.Wrong(p.otherWay("listen"), "R-01: it says nothing in clear: TLS begins with the first octet there")
		return
	case errors.As(err, &header) && strings.HasPrefix(string(header.RecordHeader[:]), "HTTP"):
		n.Wrong(p.anotherProgram(), "what answers is a web server%s", listener(p.address))
		return
	}
	n.Wrong("look at the server's log; something else may have the port, or it is for a balancer that sends PROXY headers: look at it through the balancer"+listener(p.address), "it accepts connections and does not greet within %s", p.Timeout)
}
