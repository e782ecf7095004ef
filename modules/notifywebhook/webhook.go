// Package notifywebhook tells web services what became of messages, as Standard Webhooks
// (https://www.standardwebhooks.com) has it: the operator's own, and those of users.
package notifywebhook

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook posts each event as JSON to a web service, with the headers webhook-id, webhook-timestamp and webhook-signature of
// Standard Webhooks. webhook-id is the same in every attempt at an event, and no other one's: by it a receiver knows one
// that it has already.
//
// Any status of 200 to 299 says that the service has it. 400, 406, 411, 413, 414, 415, 422 and 431 refuse that event: it is tried
// again, and others meanwhile. After every other status, and without an answer, all wait and are tried again; Retry-After is
// heeded. No status ends it, 410 included. Redirects are not followed.
type Webhook struct {
	// URL of the service. Required: https, or http on this machine. Placeholders are resolved when the config is loaded.
	URL string `json:"url,omitempty"`
	// Secrets sign each event: whsec_ and base64 of 24 to 64 octets, as in: echo whsec_$(openssl rand -base64 32). All of several
	// sign, so that a service can change from one to the next. Default: events are not signed.
	Secrets []conf.Secret `json:"secrets,omitempty"`
	// Timeout is how long a request may take. Default: 15s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Socket is the path of a unix socket on which the service listens.
	Socket string `json:"socket,omitempty"`
	// Bearer is a token for the Authorization header.
	Bearer conf.Secret `json:"bearer,omitempty"`
	conf.TLSClient
	// InsecurePlaintext allows http to another machine, where everybody in between can read it.
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`
	// Headers are sent with each request. Placeholders are resolved when the config is loaded.
	Headers map[string]string `json:"headers,omitempty"`

	poster
	url string
}

// defaultTimeout is of a request.
const defaultTimeout = conf.Duration(15 * time.Second)

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.notifiers.webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision resolves the configuration. It does not connect.
func (w *Webhook) Provision(ctx caddy.Context) error {
	if err := w.provision(terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

func (w *Webhook) provision(log *zap.Logger) (err error) {
	if err := conf.SetDefault(&w.Timeout, defaultTimeout, "timeout"); err != nil {
		return err
	}
	w.timeout = time.Duration(w.Timeout)
	config := webcall.Config{URL: w.URL, Socket: w.Socket, Bearer: w.Bearer, TLSClient: w.TLSClient, InsecurePlaintext: w.InsecurePlaintext, Headers: w.Headers}
	if w.client, err = config.Open(log, idle); err != nil {
		return err
	}
	if w.url, err = conf.Expand(w.URL); err != nil {
		return err
	}
	for _, secret := range w.Secrets {
		resolved, err := secret.Resolve("secret", log)
		if err != nil {
			return err
		}
		key, err := webcall.ParseWebhookKey(resolved.Value())
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		w.keys = append(w.keys, key)
	}
	if len(w.keys) == 0 {
		log.Warn("events are not signed: the service cannot tell that they are from here; set secret", zap.String("service", w.client.Name()))
	}
	return nil
}

// idle is how many connections are kept.
const idle = 8

// Cleanup closes idle connections.
func (w *Webhook) Cleanup() error {
	if w.client != nil {
		w.client.Close()
	}
	return nil
}

// Receiver implements caddymsa.Notifier.
func (w *Webhook) Receiver() (key, label string) { return w.url + " " + w.Socket, w.client.Name() }

// Notify implements caddymsa.Notifier.
func (w *Webhook) Notify(ctx context.Context, e *notify.Event) error { return w.post(ctx, e) }

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	webhook <url> {
//		secret             <secrets...>
//		timeout            <duration>
//		socket             <path>
//		bearer             <token>
//		ca                 <pem_file...>
//		server_name        <name>
//		client_certificate <certificate_file> <key_file>
//		insecure_plaintext
//		header             <name> <value>
//	}
func (w *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the notifier's name
	if !d.AllArgs(&w.URL) {
		return d.Err("webhook takes a URL, as in: notify webhook https://hooks.example.org/mail")
	}
	return conf.Block(d, append(w.TLSClient.Settings(),
		conf.List("secret", &w.Secrets),
		conf.Value("timeout", &w.Timeout),
		conf.Text("socket", &w.Socket),
		conf.Value("bearer", &w.Bearer),
		conf.Flag("insecure_plaintext", &w.InsecurePlaintext),
		conf.Each("header", conf.Pair(&w.Headers)),
	)...)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Webhook)(nil)
	_ caddy.CleanerUpper    = (*Webhook)(nil)
	_ caddymsa.Notifier     = (*Webhook)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
)
