package outside

import (
	"context"
	"crypto/tls"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// versions looks which versions of TLS a port speaks: 1.2 or 1.3, and not those before (RFC 8996).
func (p port) versions(ctx context.Context) *doctor.Notes {
	n := p.about("tls")
	old := p.speaks(ctx, tls.VersionTLS10, tls.VersionTLS11)
	now := p.speaks(ctx, tls.VersionTLS12, tls.VersionTLS13)
	switch {
	case now == 0:
		n.Wrong("have it speak TLS 1.2 and 1.3", "it speaks neither TLS 1.2 nor 1.3 with this client")
	case old != 0:
		n.Wrong(p.protocols(), "it speaks %s, which anybody in between may be able to break (RFC 8996)", tls.VersionName(old))
	case now == tls.VersionTLS12:
		n.Warn(p.protocols(), "it does not speak TLS 1.3")
	default:
		n.OK("it speaks %s, and nothing older than TLS 1.2", tls.VersionName(now))
	}
	return n
}

func (p port) protocols() string {
	if p.Ours {
		return "leave out protocols in tls { ... }, or set: protocols tls1.2 tls1.3"
	}
	return "allow TLS 1.2 and 1.3 only (Postfix: smtpd_tls_mandatory_protocols = >=TLSv1.2; Exim: tls_require_ciphers, openssl_options)"
}

// speaks returns the version that a handshake comes to, or 0.
func (p port) speaks(ctx context.Context, least, most uint16) uint16 {
	c, err := p.dial(ctx)
	if err != nil {
		return 0
	}
	defer c.close()
	c.watch(ctx)
	if !p.implicit {
		if _, err := c.reply(); err != nil {
			return 0
		}
		if _, err := c.ehlo(); err != nil {
			return 0
		}
		if r, err := c.ask("STARTTLS"); err != nil || r.code != 220 {
			return 0
		}
	}
	config := p.config()
	config.MinVersion, config.MaxVersion = least, most
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) { // whatever the server has
		config.CipherSuites = append(config.CipherSuites, s.ID)
	}
	if c.handshake(config) != nil {
		return 0
	}
	defer c.quit()
	return c.nc.(*tls.Conn).ConnectionState().Version
}
