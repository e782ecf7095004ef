package outside

import (
	"context"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// goesOn looks at what is legal straight after the handshake: everything on a STARTTLS port, EHLO alone with implicit TLS.
func (p port) goesOn(ctx context.Context) *doctor.Notes {
	n := p.about("R-07")
	c, err := p.secured(ctx)
	if err != nil {
		n.Skip("see the finding on the certificate", "no TLS: %s", short(err.Error()))
		return n
	}
	defer c.quit()
	r, err := c.ask("AUTH") // without a mechanism: an exchange that is broken off counts as a guess somewhere
	switch {
	case err != nil:
		n.Warn("have AUTH without a second EHLO answered", "AUTH straight after the handshake ends the connection: %s", short(err.Error()))
	case p.implicit && r.code == 503:
		n.OK("with implicit TLS, AUTH before EHLO is refused: %s", r)
	case p.implicit:
		n.Warn("have EHLO required first (Postfix: smtpd_helo_required=yes)", "with implicit TLS, AUTH before EHLO is not refused with 503: %s", r)
	case r.code == 503 || r.code == 530:
		n.Warn("have clients send EHLO again after STARTTLS, as most do: those written after the specification's example do not, and cannot log in here", "AUTH straight after the handshake, with no second EHLO, is refused: %s", r)
	default: // 501: a mechanism is missing
		n.OK("a client may go on straight after the handshake, with no second EHLO")
	}
	return n
}

// announced looks at what EHLO announces, before TLS and within it, and at the mechanisms.
func (p port) announced(ctx context.Context) []doctor.Finding {
	n, mechanisms := p.about("R-08"), p.about("R-09")
	if !p.implicit {
		p.inClear(ctx, n)
	}
	c, err := p.secured(ctx)
	if err != nil {
		n.Skip("see the finding on the certificate", "no TLS: %s", short(err.Error()))
		return n.Findings
	}
	defer c.quit()
	r, err := c.ehlo()
	if err != nil {
		n.Wrong("have EHLO answered", "within TLS: %s", short(err.Error()))
		return n.Findings
	}
	p.extensions(n, r)
	if n.Clean() {
		n.OK("EHLO announces PIPELINING, SIZE, 8BITMIME and AUTH")
	}
	p.mechanisms(mechanisms, r)
	return append(n.Findings, mechanisms.Findings...)
}

// inClear looks at what is announced to those who listen.
func (p port) inClear(ctx context.Context, n *doctor.Notes) {
	c, _, err := p.open(ctx)
	if err != nil {
		return
	}
	defer c.quit()
	r, err := c.ehlo()
	if err != nil {
		return
	}
	list, _ := r.has("AUTH")
	for _, m := range strings.Fields(strings.ToUpper(list)) {
		if m == gosasl.Plain || m == gosasl.Login || m == sasl.OAuthBearer || m == sasl.XOAuth2 {
			n.Wrong("announce AUTH within TLS only (Postfix: smtpd_tls_auth_only=yes; Exim: auth_advertise_hosts depending on $tls_in_cipher)", "before TLS it announces AUTH %s: clients would send passwords in clear", short(list))
			return
		}
	}
}

// specified is the size that the specification has the server take.
const specified = "52428800"

func (p port) extensions(n *doctor.Notes, r reply) {
	for _, keyword := range []string{"PIPELINING", "8BITMIME"} {
		if _, ok := r.has(keyword); !ok {
			n.Warn("have the server announce "+keyword+", or find the proxy that hides it", "EHLO does not announce %s", keyword)
		}
	}
	switch size, ok := r.has("SIZE"); {
	case !ok:
		n.Warn("have the server announce SIZE", "EHLO does not announce SIZE: clients send messages that are too large before they hear of it")
	case len(size) < len(specified) && size != "0" && size != "" || len(size) == len(specified) && size < specified:
		n.Warn(p.larger(), "messages are limited to %s octets, where the specification has %s", short(size), specified)
	}
	if _, ok := r.has("STARTTLS"); ok {
		n.Warn("have the server announce STARTTLS before TLS only", "STARTTLS is announced within TLS")
	}
}

func (p port) larger() string {
	if p.Ours {
		return "if that is not meant: limits { message_size 52428800 }"
	}
	return "if that is not meant, raise it (Postfix: message_size_limit; Exim: message_size_limit)"
}

// mechanisms looks for those that the specification names.
func (p port) mechanisms(n *doctor.Notes, r reply) {
	list, ok := r.has("AUTH")
	offered := strings.Fields(strings.ToUpper(list))
	if !ok || len(offered) == 0 {
		n.Wrong(p.enableAuth(), "no mechanism is offered within TLS: nobody can log in")
		return
	}
	var missing []string
	for _, m := range []string{sasl.DigestMD5, gosasl.Plain, gosasl.Login} {
		if !slices.Contains(offered, m) {
			missing = append(missing, m)
		}
	}
	if len(missing) > 0 {
		n.Warn(p.addMechanisms(), "it offers %s, and not %s, which the specification names", short(list), strings.Join(missing, ", "))
		return
	}
	n.OK("it offers %s", short(list))
}

func (p port) enableAuth() string {
	if p.Ours {
		return "see the backends in auth { ... }: caddy msa auth test"
	}
	return "set authentication up (Postfix: smtpd_sasl_auth_enable, smtpd_sasl_type; Exim: authenticators, auth_advertise_hosts)"
}

func (p port) addMechanisms() string {
	if p.Ours {
		return "if clients want them, list them: auth { mechanisms ... }; DIGEST-MD5 needs clear passwords, or digests, of all users"
	}
	return "if clients want them, offer them (Dovecot: auth_mechanisms; Exim: authenticators)"
}

// strangers looks whether a message is taken from one who has not logged in. No message is sent.
func (p port) strangers(ctx context.Context) *doctor.Notes {
	n := p.about("R-10")
	c, err := p.secured(ctx)
	if err != nil {
		n.Skip("see the finding on the certificate", "no TLS: %s", short(err.Error()))
		return n
	}
	defer c.quit()
	if _, err := c.ehlo(); err != nil {
		n.Skip("have EHLO answered", "within TLS: %s", short(err.Error()))
		return n
	}
	r, err := c.ask("MAIL FROM:<doctor@example.com>")
	switch {
	case err != nil:
		n.Warn("have MAIL answered with 530", "MAIL of one who has not logged in ends the connection: %s", short(err.Error()))
		return n
	case r.code == 530:
		n.OK("no message is taken from one who has not logged in: %s", r)
		return n
	case r.code/100 != 2:
		n.Warn("have MAIL answered with 530 5.7.0, so that clients ask for the password", "MAIL of one who has not logged in is refused, but not with 530: %s", r)
		return n
	}
	to, err := c.ask("RCPT TO:<postmaster@example.com>")
	_, _ = c.ask("RSET")
	switch {
	case err == nil && to.code/100 == 2:
		n.Wrong(p.closeRelay(), "it takes messages of anybody to anybody: MAIL and RCPT of one who has not logged in are taken")
	case err != nil:
		n.Warn(p.closeRelay(), "MAIL of one who has not logged in is taken: %s", r)
	default:
		n.Warn("have MAIL answered with 530 5.7.0 (Postfix: smtpd_delay_reject=no with smtpd_sender_restrictions=permit_sasl_authenticated,reject; Exim: acl_smtp_mail)",
			"MAIL of one who has not logged in is taken, though RCPT is refused: %s", to)
	}
	return n
}

func (p port) closeRelay() string {
	if p.Ours {
		return p.gate()
	}
	return "require authentication at once (Postfix: smtpd_relay_restrictions=permit_sasl_authenticated,reject, and an empty mynetworks; Exim: an ACL with !authenticated = *)"
}
