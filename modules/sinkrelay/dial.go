package sinkrelay

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
)

// The values of Relay.TLS.
const (
	tlsRequired = "required"
	tlsImplicit = "implicit"
	tlsOff      = "off"
)

// dialer opens connections to the next hop.
type dialer struct {
	host    string // without the port
	address string // with it
	helo    string // "" for the accepting server's name
	mode    string
	tls     *tls.Config
	account *account // nil for none

	connect, command, data, end time.Duration
}

func newDialer(r *Relay, log *zap.Logger) (dialer, error) {
	d := dialer{
		helo: r.Helo, mode: r.TLS,
		connect: time.Duration(r.Timeouts.Connect), command: time.Duration(r.Timeouts.Command),
		data: time.Duration(r.Timeouts.Data), end: time.Duration(r.Timeouts.End),
	}
	repl := caddy.NewReplacer()
	if r.Host == "" {
		return d, errors.New("a host is required, such as smtp.example.net:587")
	}
	host, err := repl.ReplaceOrErr(r.Host, true, true)
	if err != nil {
		return d, fmt.Errorf("host: %w", err)
	}
	if strings.ContainsAny(d.helo, " \t\r\n") {
		return d, fmt.Errorf("helo: %q is no host name", d.helo)
	}
	port := "587"
	switch d.mode {
	case "":
		d.mode = tlsRequired
	case tlsImplicit:
		port = "465"
	case tlsRequired, tlsOff:
	default:
		return d, fmt.Errorf("tls: %q is none of required, implicit, off", r.TLS)
	}
	if d.host, d.address, err = splitHost(host, port); err != nil {
		return d, err
	}
	if d.mode == tlsOff {
		if r.TLSServerName != "" || len(r.TrustedRoots) > 0 || r.InsecureSkipVerify {
			return d, errors.New("tls is off: tls_server_name, trusted_roots and insecure_skip_verify do nothing; remove them")
		}
		if !isLoopback(d.host) {
			if r.Auth != nil {
				return d, errors.New("tls is off: the password would go in clear; use tls required or implicit")
			}
			log.Warn("messages go to the next hop in clear", zap.String("host", d.address))
		}
	} else if d.tls, err = tlsConfig(r, d.host); err != nil {
		return d, err
	}
	if r.Auth != nil {
		if d.account, err = r.Auth.resolve(repl, log); err != nil {
			return d, err
		}
	}
	return d, nil
}

func splitHost(s, port string) (host, address string, err error) {
	if ip, perr := netip.ParseAddr(s); perr == nil {
		return ip.String(), net.JoinHostPort(s, port), nil
	}
	if !strings.Contains(s, ":") || strings.HasSuffix(s, "]") {
		s += ":" + port
	}
	host, port, err = net.SplitHostPort(s)
	if err != nil {
		return "", "", fmt.Errorf("host: %w", err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("host: %q is no port number", port)
	}
	if host == "" || strings.ContainsAny(host, " /@\r\n\t") {
		return "", "", fmt.Errorf("host: %q is no host:port, such as smtp.example.net:587", s)
	}
	return host, s, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func tlsConfig(r *Relay, host string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: r.InsecureSkipVerify, //nolint:gosec // the operator said so
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	if r.TLSServerName != "" {
		c.ServerName = r.TLSServerName
	}
	for _, file := range r.TrustedRoots {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("trusted_roots: %w", err)
		}
		if c.RootCAs == nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("trusted_roots: %s holds no PEM certificate", file)
		}
	}
	return c, nil
}

// dial connects and says all that comes before MAIL. No error of it is an
// *smtp.SMTPError: what is refused here is us, not a message.
func (d *dialer) dial(ctx context.Context, server string) (*peer, error) {
	// Not the connection, only what it takes to have one, ends with this.
	connectCtx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(connectCtx, "tcp", d.address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, data: d.data}
	release := c.abortWith(ctx)
	p, err := d.introduce(ctx, c, server)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return p, nil
}

func (d *dialer) introduce(ctx context.Context, c *conn, server string) (*peer, error) {
	helo := d.helo
	if helo == "" {
		helo = server
	}
	if helo == "" {
		helo = "localhost"
	}
	if d.mode == tlsRequired {
		if err := c.SetReadDeadline(time.Now().Add(d.command)); err != nil {
			return nil, err
		}
		if err := startTLS(c, helo); err != nil {
			return nil, err
		}
		// There is no second greeting, but the client wants one to begin with.
		c.greeting = "220 TLS\r\n"
	}
	if d.tls != nil {
		// A reply that sits in the clear cannot get in: this reads the socket.
		t := tls.Client(c.raw, d.tls)
		if err := c.raw.SetDeadline(time.Now().Add(d.command)); err != nil {
			return nil, err
		}
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.Conn = t
	}
	client := smtp.NewClient(c)
	client.CommandTimeout, client.SubmissionTimeout = d.command, d.end
	if err := client.Hello(helo); err != nil {
		return nil, fmt.Errorf("greeting: %s", err.Error())
	}
	if d.account != nil {
		if err := d.account.login(client, d.host); err != nil {
			return nil, err
		}
	}
	return &peer{client: client, conn: c, helo: helo}, nil
}

// maxClear is how much may be said before TLS.
const maxClear = 64 << 10

// startTLS is what is said in clear (RFC 3207). go-smtp's client can do this, but
// as EHLO localhost.
func startTLS(c *conn, helo string) error {
	b := bufio.NewReader(io.LimitReader(c, maxClear))
	r := textproto.NewReader(b)
	if _, _, err := r.ReadResponse(220); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if _, err := fmt.Fprintf(c, "EHLO %s\r\n", helo); err != nil {
		return err
	}
	_, text, err := r.ReadResponse(250)
	if err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	offered := false
	for line := range strings.SplitSeq(text, "\n") {
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	if !offered {
		return errors.New("the next hop does not offer STARTTLS, and nothing is sent in clear unless tls is off")
	}
	if _, err := io.WriteString(c, "STARTTLS\r\n"); err != nil {
		return err
	}
	if _, _, err := r.ReadResponse(220); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if b.Buffered() > 0 { // someone in between (CVE-2011-0411, the client's side)
		return errors.New("STARTTLS: something was said in clear behind the reply")
	}
	return nil
}
