// Package notifynats publishes to NATS what became of messages.
package notifynats

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/nats-io/nats.go"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/natsclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(NATS))
}

// NATS publishes each event as JSON to one subject, with its type in the header MSA-Event. It goes to a stream of JetStream, which
// has to say that it has stored it. Nats-Msg-Id is the same in every attempt at an event, so that the stream keeps one of two
// within its duplicate window.
//
// An event that is larger than the server's max_payload or the stream's max_msg_size is refused; after every other failure all
// wait and are tried again.
type NATS struct {
	natsclient.Config

	client *natsclient.Client
}

// CaddyModule returns the Caddy module information.
func (*NATS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.notifiers.nats", New: func() caddy.Module { return new(NATS) }}
}

// Provision resolves the configuration. It does not connect.
func (n *NATS) Provision(ctx caddy.Context) (err error) {
	if n.client, err = n.Config.Open("events", terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	return nil
}

// Cleanup closes the connection.
func (n *NATS) Cleanup() error {
	if n.client != nil {
		n.client.Close()
	}
	return nil
}

// Receiver implements caddymsa.Notifier.
func (n *NATS) Receiver() (key, label string) { return n.client.Name(), n.client.Subject() }

// Notify implements caddymsa.Notifier.
func (n *NATS) Notify(ctx context.Context, e *notify.Event) error {
	m := nats.NewMsg(n.client.Subject())
	var err error
	if m.Data, err = json.Marshal(e); err != nil {
		return err
	}
	m.Header.Set("MSA-Event", e.Type())
	m.Header.Set(nats.MsgIdHdr, e.ID)
	conn, err := n.client.Connect(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("nats: %w", err)
	case err != nil:
		return &notify.UnreachableError{Cause: fmt.Errorf("nats: %w", err)}
	}
	if _, err = n.client.Publish(ctx, conn, m); err == nil {
		return nil
	}
	switch {
	case natsclient.IsTooLarge(err):
		return &notify.RefusedError{Cause: err}
	case natsclient.IsUnreachable(conn, err):
		return &notify.UnreachableError{Cause: err}
	}
	return err
}

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	nats <urls...> {
//		subject            <subject>
//		stream             <name>
//		core
//		credentials        <file>
//		username           <name>
//		password           <password>
//		token              <token>
//		ca                 <pem_file...>
//		server_name        <name>
//		client_certificate <certificate_file> <key_file>
//		timeout            <duration>
//	}
func (n *NATS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the notifier's name
	if n.URLs = d.RemainingArgs(); len(n.URLs) == 0 {
		return d.Err("nats takes a URL, as in: notify nats tls://nats.example.org:4222 { subject mail.status }")
	}
	return conf.Block(d, n.Config.Settings()...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*NATS)(nil)
	_ caddy.CleanerUpper    = (*NATS)(nil)
	_ caddymsa.Notifier     = (*NATS)(nil)
	_ caddyfile.Unmarshaler = (*NATS)(nil)
)
