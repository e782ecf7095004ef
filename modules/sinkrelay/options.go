package sinkrelay

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// provisionOptions is what all hosts have in common.
func (r *Relay) provisionOptions(log *zap.Logger) (err error) {
	if strings.ContainsAny(r.Helo, " \t\r\n") {
		return fmt.Errorf("helo: %q is not a host name", r.Helo)
	}
	mode := r.TLS
	switch mode {
	case "":
		mode = nexthop.TLSRequired
		if r.MX {
			// Who can answer for the name of a host that came out of DNS (RFC 7435)?
			mode = nexthop.TLSOpportunistic
		}
	case nexthop.TLSRequired, nexthop.TLSImplicit, nexthop.TLSOpportunistic, nexthop.TLSOff:
	default:
		return fmt.Errorf("tls: %q is not one of required, implicit, opportunistic, off", r.TLS)
	}
	r.options = nexthop.Options{
		Helo: r.Helo, TLSMode: mode,
		Connect: time.Duration(r.Timeouts.Connect), Greeting: time.Duration(r.Timeouts.Greeting), Command: time.Duration(r.Timeouts.Command),
		Data: time.Duration(r.Timeouts.Data), End: time.Duration(r.Timeouts.End),
		Idle: r.Connections, IdleTimeout: time.Duration(r.IdleTimeout), LastTimeout: r.lastTimeout,
		Messages: r.Messages, Recipients: r.MaxRecipients,
		SaidHELO: func(host, address string) {
			log.Debug("next hop hears HELO, for it has refused EHLO or hung up on it", zap.String("host", host), zap.String("address", address))
		},
	}
	if r.Bind != "" {
		r.options.Bind = &net.TCPAddr{IP: net.ParseIP(r.Bind)}
	}
	switch {
	case mode == nexthop.TLSOff && (!r.TLSClient.IsZero() || r.InsecureSkipVerify):
		return errors.New("tls is off: server_name, ca, client_certificate and insecure_skip_verify do nothing; remove them")
	case mode == nexthop.TLSOpportunistic && (r.ServerName != "" || len(r.CA) > 0 || r.InsecureSkipVerify):
		return errors.New("tls is opportunistic and takes any certificate: remove server_name, ca and insecure_skip_verify, or set tls required")
	case mode == nexthop.TLSOpportunistic && r.Auth != nil:
		return errors.New("tls is opportunistic: the password would go to anybody; use tls required or implicit")
	case mode != nexthop.TLSOff:
		if r.options.TLS, err = r.tlsConfig(mode); err != nil {
			return err
		}
	}
	if r.Auth != nil {
		account, err := r.Auth.resolve(caddy.NewReplacer(), log)
		if err != nil {
			return err
		}
		r.options.Login = account.login()
	}
	return nil
}

// host is one of those that are configured.
func (r *Relay) host(text string, repl *caddy.Replacer, log *zap.Logger) (*nexthop.Hop, error) {
	text, err := conf.Expand(text)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	port := "587"
	if r.options.TLSMode == nexthop.TLSImplicit {
		port = "465"
	}
	host, address, err := splitHost(text, port)
	if err != nil {
		return nil, err
	}
	if r.options.TLSMode == nexthop.TLSOff && !conf.IsLoopback(host) {
		if r.Auth != nil {
			return nil, errors.New("tls is off: the password would go in clear; use tls required or implicit")
		}
		log.Warn("messages go to the next hop in clear", zap.String("host", address))
	}
	return nexthop.New("tcp", address, host, &r.options), nil
}

func splitHost(s, port string) (host, address string, err error) {
	if err := conf.NoURL(s); err != nil {
		return "", "", fmt.Errorf("host: %w", err)
	}
	if strings.Contains(s, "@") {
		return "", "", errors.New("host: a login is not a part of the address; it goes in the block: auth <username> <password>")
	}
	if strings.ContainsAny(s, ",;") {
		return "", "", fmt.Errorf("host: %q: write several hosts with spaces between them", s)
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return "", "", fmt.Errorf("host: %q is a port; it follows its host and a colon, as in smtp.example.net:%s", s, s)
	}
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
		return "", "", fmt.Errorf("host: %q is not a port number", port)
	}
	if host == "" || strings.ContainsAny(host, " /@*\r\n\t") {
		return "", "", fmt.Errorf("host: %q is not a host:port (for example smtp.example.net:587)", s)
	}
	return host, s, nil
}

func (r *Relay) tlsConfig(mode string) (*tls.Config, error) {
	c, err := r.TLSClient.Config()
	if err != nil {
		return nil, err
	}
	c.InsecureSkipVerify = r.InsecureSkipVerify || mode == nexthop.TLSOpportunistic
	c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return c, nil
}
