package app

import (
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
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
	// ConnectionsPerIP is the most connections at a time from one IPv4 address or IPv6 /64. Default 1000.
	ConnectionsPerIP int `json:"connections_per_ip,omitempty"`
	// Unauthenticated is the most connections at a time that have not authenticated yet. Over it,
	// the oldest of the address that has most of them is closed with 421. From half of it on,
	// before_auth shrinks, to a quarter in the end. Default 2000.
	Unauthenticated int `json:"unauthenticated,omitempty"`
	// UnauthenticatedPerIP is the most of them from one IPv4 address or IPv6 /64, while more than
	// half of Unauthenticated is taken; on a quiet server it does not count. Default 20.
	UnauthenticatedPerIP int `json:"unauthenticated_per_ip,omitempty"`
	// BadCommands is how many refused commands end a session with 421. Default 20.
	BadCommands int `json:"bad_commands,omitempty"`
	// AuthFailures is how many failed AUTHs, whatever the reason, end a session with 421. Default 3.
	AuthFailures int `json:"auth_failures,omitempty"`
	// CommandsBeforeAuth is how many commands, good or bad, a client may send before it has
	// authenticated. Default 100.
	CommandsBeforeAuth int `json:"commands_before_auth,omitempty"`
	// CommandLine is the most octets in a command. Default 2048; not below 512 (RFC 5321 4.5.3.1.4).
	CommandLine int `json:"command_line,omitempty"`
	// AuthLine is the most octets in a line of AUTH. Default 12288 (RFC 4954 section 4), at most 32766.
	AuthLine int `json:"auth_line,omitempty"`
	// RefusedOctets is how many octets of an overlong line, or of a chunk of a client that has not
	// authenticated, are read to be dropped; beyond that, 421. Default 65536.
	RefusedOctets int64 `json:"refused_octets,omitempty"`
	// HeaderFields is the most fields in a message's header; over it, 554. Default 1000.
	HeaderFields int `json:"header_fields,omitempty"`
	// HeaderSize is the most octets in a message's header; over it, 554. Default 262144.
	HeaderSize int64 `json:"header_size,omitempty"`
	// ReceivedFields is how many Received fields are taken for a mail loop: 554. Default 100;
	// not below 100 (RFC 5321 section 6.3).
	ReceivedFields int `json:"received_fields,omitempty"`
	// DataRate is the least that a message must bring in octets a second, averaged over its body
	// after timeouts' data_grace; below it, 421. Default 100; -1 for none.
	DataRate int64 `json:"data_rate,omitempty"`
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
	// DataGrace is how long a message may take at any rate before data_rate counts. Default 1m.
	DataGrace conf.Duration `json:"data_grace,omitempty"`
	// Write is how long a client may take to read a reply. Default 3m.
	Write conf.Duration `json:"write,omitempty"`
	// Session is the longest that a session may last. Default 24h.
	Session conf.Duration `json:"session,omitempty"`
}

func (l *Limits) setDefaults() error {
	if l.Recipients > 0 && l.Recipients < 100 {
		return fmt.Errorf("recipients: %d is too few: a server must accept 100 (RFC 5321 section 4.5.3.1.8)", l.Recipients)
	}
	if l.ReceivedFields > 0 && l.ReceivedFields < 100 {
		return fmt.Errorf("received_fields: %d is too few: a server must accept 100 (RFC 5321 section 6.3)", l.ReceivedFields)
	}
	if l.CommandLine > 0 && l.CommandLine < 512 {
		return fmt.Errorf("command_line: %d is too few: a server must accept 512 octets (RFC 5321 section 4.5.3.1.4)", l.CommandLine)
	}
	if l.AuthLine > smtpd.MaxLine || l.CommandLine > smtpd.MaxLine {
		return fmt.Errorf("command_line and auth_line: at most %d octets", smtpd.MaxLine)
	}
	if l.DataRate < -1 {
		return fmt.Errorf("data_rate: %d is not a rate; write octets a second, or -1 for none", l.DataRate)
	}
	if l.DataRate == 0 {
		l.DataRate = 100
	}
	if l.Priority < 0 || l.Priority > 9 {
		return fmt.Errorf("priority: is %d; it is a number from 1 to 9, or left out", l.Priority)
	}
	return conf.First(
		conf.SetDefault(&l.MessageSize, 52428800, "message_size"),
		conf.SetDefault(&l.Recipients, 1000, "recipients"),
		conf.SetDefault(&l.Connections, 20000, "connections"),
		conf.SetDefault(&l.ConnectionsPerIP, 1000, "connections_per_ip"),
		conf.SetDefault(&l.Unauthenticated, 2000, "unauthenticated"),
		conf.SetDefault(&l.UnauthenticatedPerIP, 20, "unauthenticated_per_ip"),
		conf.SetDefault(&l.BadCommands, 20, "bad_commands"),
		conf.SetDefault(&l.AuthFailures, 3, "auth_failures"),
		conf.SetDefault(&l.CommandsBeforeAuth, 100, "commands_before_auth"),
		conf.SetDefault(&l.CommandLine, 2048, "command_line"),
		conf.SetDefault(&l.AuthLine, 12288, "auth_line"),
		conf.SetDefault(&l.RefusedOctets, 64<<10, "refused_octets"),
		conf.SetDefault(&l.HeaderFields, 1000, "header_fields"),
		conf.SetDefault(&l.HeaderSize, 256<<10, "header_size"),
		conf.SetDefault(&l.ReceivedFields, 100, "received_fields"),
	)
}

func (t *Timeouts) setDefaults() error {
	return conf.First(
		conf.SetDefault(&t.Handshake, conf.Duration(10*time.Second), "handshake"),
		conf.SetDefault(&t.BeforeAuth, conf.Duration(time.Minute), "before_auth"),
		conf.SetDefault(&t.Command, conf.Duration(5*time.Minute), "command"),
		conf.SetDefault(&t.Data, conf.Duration(3*time.Minute), "data"),
		conf.SetDefault(&t.DataGrace, conf.Duration(time.Minute), "data_grace"),
		conf.SetDefault(&t.Write, conf.Duration(3*time.Minute), "write"),
		conf.SetDefault(&t.Session, conf.Duration(24*time.Hour), "session"),
	)
}

func (srv *Server) gateLimits() gate.Limits {
	l := &srv.Limits
	return gate.Limits{Connections: l.Connections, ConnectionsPerIP: l.ConnectionsPerIP, Unauthenticated: l.Unauthenticated,
		UnauthenticatedPerIP: l.UnauthenticatedPerIP, BeforeAuth: time.Duration(srv.Timeouts.BeforeAuth)}
}

// settings are what the engine needs to know of the server.
func (srv *Server) settings() *smtpd.Settings {
	return &smtpd.Settings{
		Hostname:          srv.Hostname,
		TLS:               srv.tlsConfig,
		AnnounceBeforeTLS: srv.Auth.announceBeforeTLS,
		MessageSize:       srv.Limits.MessageSize,
		Recipients:        srv.Limits.Recipients,
		Priority:          srv.Limits.Priority,
		BadCommands:       srv.Limits.BadCommands,
		AuthFailures:      srv.Limits.AuthFailures,

		CommandsBeforeAuth: srv.Limits.CommandsBeforeAuth,
		CommandLine:        srv.Limits.CommandLine,
		AuthLine:           srv.Limits.AuthLine,
		Skip:               srv.Limits.RefusedOctets,
		DataRate:           srv.Limits.DataRate,
		DataGrace:          time.Duration(srv.Timeouts.DataGrace),
		Write:              time.Duration(srv.Timeouts.Write),

		Handshake:         time.Duration(srv.Timeouts.Handshake),
		BeforeAuth:        time.Duration(srv.Timeouts.BeforeAuth),
		Command:           time.Duration(srv.Timeouts.Command),
		Data:              time.Duration(srv.Timeouts.Data),
		SessionTime:       time.Duration(srv.Timeouts.Session),
		NormalizeNewlines: srv.Newlines == "normalize",
	}
}
