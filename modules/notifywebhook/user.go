package notifywebhook

import (
	"context"
	"errors"
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
	caddy.RegisterModule(new(UserWebhook))
}

// UserWebhook is a webhook for each user, of the user's own messages, at the URL that the backend has as an attribute of the user.
// What it posts is Webhook's without what is the operator's business.
//
// URLs are of users' choosing, so they are https on hosts that the operator allows, with a certificate for their name; addresses
// that are not public are never connected to, whatever the name resolves to. A user whose URL is not allowed is told of nothing.
type UserWebhook struct {
	// Attribute of a user that has the URL. Default: webhook_url.
	Attribute string `json:"attribute,omitempty"`
	// SecretAttribute has the secret that signs, as Webhook's. Default: webhook_secret. A user without it gets events that are not
	// signed.
	SecretAttribute string `json:"secret_attribute,omitempty"`
	// Allow are the hosts that URLs may name: hooks.example.org, *.example.net for all below it, or * for any. The port is 443
	// unless the host has another, as in hooks.example.org:8443. Required.
	Allow []string `json:"allow,omitempty"`
	// CA are PEM files with the CA certificates to trust in place of the system's. They are read when the config is loaded.
	CA []string `json:"ca,omitempty"`
	// Timeout is how long a request may take. Default: 10s.
	Timeout conf.Duration `json:"timeout,omitempty"`

	log     *zap.Logger
	hosts   []allowed
	clients clients
	control control
}

// CaddyModule returns the Caddy module information.
func (*UserWebhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.notifiers.user_webhook", New: func() caddy.Module { return new(UserWebhook) }}
}

// Provision resolves the configuration. It does not connect.
func (w *UserWebhook) Provision(ctx caddy.Context) error {
	if err := w.provision(terminal.Logger(ctx.Logger())); err != nil {
		return fmt.Errorf("user_webhook: %w", err)
	}
	return nil
}

func (w *UserWebhook) provision(log *zap.Logger) error {
	w.log, w.control = log, publicOnly
	if w.Attribute == "" {
		w.Attribute = "webhook_url"
	}
	if w.SecretAttribute == "" {
		w.SecretAttribute = "webhook_secret"
	}
	if err := conf.SetDefault(&w.Timeout, conf.Duration(10*time.Second), "timeout"); err != nil {
		return err
	}
	if len(w.Allow) == 0 {
		return errors.New("allow is required: the hosts that users' URLs may name, such as hooks.example.org or *.example.net; * is any")
	}
	for _, text := range w.Allow {
		a, err := parseAllowed(text)
		if err != nil {
			return fmt.Errorf("allow: %w", err)
		}
		w.hosts = append(w.hosts, a)
	}
	_, err := (&conf.TLSClient{CA: w.CA}).Config()
	return err
}

// Cleanup closes idle connections.
func (w *UserWebhook) Cleanup() error {
	w.clients.close()
	return nil
}

// Receiver implements caddymsa.Notifier.
func (w *UserWebhook) Receiver() (key, label string) { return w.Attribute, "users" }

// Notify implements caddymsa.Notifier. It is never called.
func (*UserWebhook) Notify(context.Context, *notify.Event) error {
	return errors.New("user_webhook: without a user")
}

// NotifyUser implements caddymsa.UserNotifier.
func (w *UserWebhook) NotifyUser(ctx context.Context, e *notify.Event, who caddymsa.Identity) error {
	url := who.Attributes[w.Attribute]
	if url == "" {
		return nil
	}
	if err := w.permitted(url); err != nil {
		w.log.Warn("a user's webhook is not allowed; the user is told of nothing", zap.String("user", who.User), zap.Error(err))
		return nil
	}
	client, leave, err := w.clients.get(url, func() (*webcall.Client, error) {
		return (&webcall.Config{URL: url, Literal: true, TLSClient: conf.TLSClient{CA: w.CA}, Control: w.control}).Open(w.log, 1)
	})
	if err != nil {
		w.log.Warn("a user's webhook cannot be used; the user is told of nothing", zap.String("user", who.User), zap.Error(err))
		return nil
	}
	defer leave()
	p := poster{client: client, timeout: time.Duration(w.Timeout)}
	if secret := who.Attributes[w.SecretAttribute]; secret != "" {
		key, err := webcall.ParseWebhookKey(secret)
		if err != nil { // rather late than unsigned
			return &notify.RefusedError{Cause: fmt.Errorf("attribute %s of user %s %w", w.SecretAttribute, who.User, err)}
		}
		p.keys = []webcall.WebhookKey{key}
	}
	return p.post(ctx, e)
}

// UnmarshalCaddyfile sets up the notifier from Caddyfile tokens. Syntax:
//
//	user_webhook {
//		allow            <hosts...>
//		attribute        <name>
//		secret_attribute <name>
//		ca               <pem_file...>
//		timeout          <duration>
//	}
func (w *UserWebhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the notifier's name
	return conf.Block(d,
		conf.List("allow", &w.Allow),
		conf.Text("attribute", &w.Attribute),
		conf.Text("secret_attribute", &w.SecretAttribute),
		conf.List("ca", &w.CA),
		conf.Value("timeout", &w.Timeout),
	)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*UserWebhook)(nil)
	_ caddy.CleanerUpper    = (*UserWebhook)(nil)
	_ caddymsa.UserNotifier = (*UserWebhook)(nil)
	_ caddyfile.Unmarshaler = (*UserWebhook)(nil)
)
