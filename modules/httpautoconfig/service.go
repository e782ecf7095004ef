package httpautoconfig

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// Protocols, as the settings and Thunderbird's format have them.
const (
	imap = "imap"
	pop3 = "pop3"
	smtp = "smtp"
)

// Words for when TLS begins.
const (
	implicitTLS = "implicit"
	startTLS    = "starttls"
)

// Service is a port that mail programs use.
type Service struct {
	// Address is host:port. Placeholders are resolved once, when the config is loaded. Required.
	Address string `json:"address,omitempty"`
	// TLS is "implicit", from the first byte, or "starttls". Default: what the port is for; for another port it is
	// required.
	TLS string `json:"tls,omitempty"`

	server
}

// server is a port that mail programs are told of.
type server struct {
	protocol, host string
	port           uint16
	implicit       bool
}

// ports that are registered, and how TLS begins there.
var ports = map[string]map[uint16]string{
	imap: {993: implicitTLS, 143: startTLS},
	pop3: {995: implicitTLS, 110: startTLS},
	smtp: {465: implicitTLS, 587: startTLS},
}

func (s *Service) provision(protocol string) error {
	if s == nil || s.Address == "" {
		return errors.New("an address is required")
	}
	address, err := conf.Expand(s.Address)
	if err != nil {
		return err
	}
	if err := conf.NoURL(address); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: expected host:port", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("address %q: %q is not a port", address, port)
	}
	if host, err = mailaddr.ASCIIDomain(host); err == nil {
		err = mailaddr.ValidDomain(host, false)
	}
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	s.server = server{protocol: protocol, host: host, port: uint16(n)}
	if s.TLS == "" {
		if s.TLS = ports[protocol][s.port]; s.TLS == "" {
			return fmt.Errorf("address %q: port %d is not registered for this; write behind it how TLS begins, %s or %s", address, s.port, implicitTLS, startTLS)
		}
	}
	if err := conf.OneOf(s.TLS, implicitTLS, startTLS); err != nil {
		return err
	}
	s.implicit = s.TLS == implicitTLS
	return nil
}
