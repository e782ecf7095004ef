package app

import (
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// Limits guard the machine. Zero means the default; none can be switched off.
type Limits struct {
	// MessageSize is the most octets in a message, announced as SIZE. Default 52428800.
	MessageSize int64 `json:"message_size,omitempty"`
	// Recipients is the most recipients of a message, announced in LIMITS. Default 1000; not below 100 (RFC 5321 4.5.3.1.8).
	Recipients int `json:"recipients,omitempty"`
	// Priority is the highest priority, from 1 to 9, that a client may ask for with MT-PRIORITY
	// (RFC 6710); what is above is lowered to it. Zero: the extension is not offered, all messages
	// are alike. Messages of a higher priority are delivered first.
	Priority int `json:"priority,omitempty"`
	// Connections is the most connections at a time. Default 20000.
	Connections int `json:"connections,omitempty"`
	// ConnectionsPerIP is the most connections at a time from one IPv4 address or IPv6 /64. Default 200.
	ConnectionsPerIP int `json:"connections_per_ip,omitempty"`
	// Unauthenticated is the most connections at a time that have not authenticated yet. Default 2000.
	Unauthenticated int `json:"unauthenticated,omitempty"`
	// BadCommands is how many refused commands end a session with 421. Default 20.
	BadCommands int `json:"bad_commands,omitempty"`
	// AuthFailures is how many failed AUTHs end a session with 421. Default 3.
	AuthFailures int `json:"auth_failures,omitempty"`
}

// Timeouts are a session's. Zero means the default.
type Timeouts struct {
	// Handshake is for the TLS handshake. Default 10s.
	Handshake conf.Duration `json:"handshake,omitempty"`
	// BeforeAuth is from accept to a successful AUTH. Default 60s.
	BeforeAuth conf.Duration `json:"before_auth,omitempty"`
	// Command is how long the server waits for a command. Default 5m.
	Command conf.Duration `json:"command,omitempty"`
	// Data is how long the server waits for the next block of a message. Default 3m.
	Data conf.Duration `json:"data,omitempty"`
	// Session is the longest that a session may last. Default 24h.
	Session conf.Duration `json:"session,omitempty"`
}

func setDefault[T int | int64 | conf.Duration](v *T, def T, name string) error {
	if *v < 0 {
		return fmt.Errorf("%s: must not be negative; leave it out for the default, %v", name, def)
	}
	if *v == 0 {
		*v = def
	}
	return nil
}

func (l *Limits) setDefaults() error {
	if l.Recipients > 0 && l.Recipients < 100 {
		return fmt.Errorf("recipients: %d is too few: a server must accept 100 (RFC 5321 section 4.5.3.1.8)", l.Recipients)
	}
	if l.Priority < 0 || l.Priority > 9 {
		return fmt.Errorf("priority: is %d; it is a number from 1 to 9, or left out", l.Priority)
	}
	return firstError(
		setDefault(&l.MessageSize, 52428800, "message_size"),
		setDefault(&l.Recipients, 1000, "recipients"),
		setDefault(&l.Connections, 20000, "connections"),
		setDefault(&l.ConnectionsPerIP, 200, "connections_per_ip"),
		setDefault(&l.Unauthenticated, 2000, "unauthenticated"),
		setDefault(&l.BadCommands, 20, "bad_commands"),
		setDefault(&l.AuthFailures, 3, "auth_failures"),
	)
}

func (t *Timeouts) setDefaults() error {
	return firstError(
		setDefault(&t.Handshake, conf.Duration(10*time.Second), "handshake"),
		setDefault(&t.BeforeAuth, conf.Duration(time.Minute), "before_auth"),
		setDefault(&t.Command, conf.Duration(5*time.Minute), "command"),
		setDefault(&t.Data, conf.Duration(3*time.Minute), "data"),
		setDefault(&t.Session, conf.Duration(24*time.Hour), "session"),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// settings are what the engine needs to know of the server.
func (srv *Server) settings() *smtpd.Settings {
	return &smtpd.Settings{
		Hostname:          srv.Hostname,
		TLS:               srv.tlsConfig,
		AnnounceBeforeTLS: srv.Auth.announceBeforeTLS(),
		MessageSize:       srv.Limits.MessageSize,
		Recipients:        srv.Limits.Recipients,
		Priority:          srv.Limits.Priority,
		BadCommands:       srv.Limits.BadCommands,
		AuthFailures:      srv.Limits.AuthFailures,
		Handshake:         time.Duration(srv.Timeouts.Handshake),
		BeforeAuth:        time.Duration(srv.Timeouts.BeforeAuth),
		Command:           time.Duration(srv.Timeouts.Command),
		Data:              time.Duration(srv.Timeouts.Data),
		SessionTime:       time.Duration(srv.Timeouts.Session),
		NormalizeNewlines: srv.Newlines == "normalize",
	}
}
