// Package policydkim signs messages with DKIM.
package policydkim

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

func init() {
	caddy.RegisterModule(new(DKIM))
}

// DKIM puts a DKIM-Signature field before messages (RFC 6376, RFC 8463): with each key of the
// domain that the From field names, or of the nearest domain above it, so that signatures are
// aligned as DMARC wants it. What was put before the message by policies in front of this one is
// signed too, so it belongs behind them.
//
// Signatures say that the domain answers for a message: let sender_identity see to it that clients
// use addresses of their own.
type DKIM struct {
	// Keys sign. At least one is required. Two of one domain, such as an RSA key and an Ed25519 key, give two
	// signatures.
	Keys []*Key `json:"keys,omitempty"`
	// Headers are the fields that are signed, as far as they are there. Default: those that RFC 6376
	// section 5.4.1 names.
	Headers []string `json:"headers,omitempty"`
	// Oversign are those of them that nobody can add to a signed message either. Default: From, Sender,
	// Reply-To, To, Cc, Subject, Date, Message-ID, MIME-Version, Content-Type,
	// Content-Transfer-Encoding.
	Oversign []string `json:"oversign,omitempty"`
	// Canonicalization of header and body: simple or relaxed each. Default: relaxed/relaxed.
	Canonicalization string `json:"canonicalization,omitempty"`
	// Expire is how long signatures count. Default: they do not expire.
	Expire conf.Duration `json:"expire,omitempty"`
	// Require refuses a message that no key is for: 550 5.7.1. Default: it goes unsigned.
	Require bool `json:"require,omitempty"`

	signers   atomic.Pointer[[]*signer]
	mu        sync.Mutex // reading files
	watch     io.Closer
	fields    []string // to be signed, lower case
	oversign  []string
	canonical canonicalization
	log       *zap.Logger
	now       func() time.Time
}

// signedFields are RFC 6376 section 5.4.1's, and what lists and calendars go by. Trace fields are not
// among them.
var signedFields = []string{"from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references", "mime-version", "content-type",
	"content-transfer-encoding", "content-disposition", "content-id", "content-description", "resent-date", "resent-from", "resent-to", "resent-cc", "list-id", "list-help", "list-unsubscribe",
	"list-unsubscribe-post", "list-subscribe", "list-post", "list-owner", "list-archive", "auto-submitted"}

var oversigned = []string{"from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding"}

// CaddyModule returns the Caddy module information.
func (*DKIM) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.dkim", New: func() caddy.Module { return new(DKIM) }}
}

// Provision reads the keys, and logs the DNS records that they need.
func (p *DKIM) Provision(ctx caddy.Context) error {
	p.log, p.now = terminal.Logger(ctx.Logger()), time.Now
	if err := p.provision(); err != nil {
		return fmt.Errorf("dkim: %w", err)
	}
	return nil
}

func (p *DKIM) provision() (err error) {
	if len(p.Keys) == 0 {
		return errors.New("a key is required, as in: key example.org s2026 /etc/caddy/dkim.pem")
	}
	if p.Expire < 0 {
		return errors.New("expire: must not be negative")
	}
	if p.canonical, err = parseCanonicalization(p.Canonicalization); err != nil {
		return err
	}
	if p.fields, err = lower("headers", p.Headers, signedFields); err != nil {
		return err
	}
	if p.oversign, err = lower("oversign", p.Oversign, oversigned); err != nil {
		return err
	}
	for _, name := range slices.Clone(p.oversign) {
		switch {
		case slices.Contains(p.fields, name):
		case p.Oversign == nil: // the default, of fields that are not signed
			p.oversign = slices.DeleteFunc(slices.Clone(p.oversign), func(n string) bool { return n == name })
		default:
			p.fields = append(slices.Clip(p.fields), name)
		}
	}
	if !slices.Contains(p.fields, "from") {
		return errors.New("headers: From must be signed (RFC 6376 section 5.4)")
	}
	var files []string
	for i, k := range p.Keys {
		if err := k.check(p.log); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		if k.File != "" {
			files = append(files, k.file)
		}
	}
	if len(files) > 0 {
		if p.watch, err = watch.Files(files, p.log, p.reload); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load()
}

func lower(name string, fields, otherwise []string) ([]string, error) {
	if fields == nil {
		return otherwise, nil
	}
	var all []string
	for _, f := range fields {
		if !message.IsName(f) || strings.ContainsAny(f, ";") {
			return nil, fmt.Errorf("%s: %q is not a field name", name, f)
		}
		all = append(all, strings.ToLower(f))
	}
	return all, nil
}

// load reads all keys.
func (p *DKIM) load() error {
	var all []*signer
	for _, k := range p.Keys {
		s, err := k.load(p.log)
		if err != nil {
			return fmt.Errorf("domain %s, selector %s: %w", k.Domain, k.Selector, err)
		}
		all = append(all, s)
	}
	p.signers.Store(&all)
	for _, r := range p.KeyRecords() {
		p.log.Info("dkim: publish this record", zap.String("name", r.Selector+"._domainkey."+r.Domain), zap.String("txt", r.Text))
	}
	return nil
}

// reload takes the keys as they are now.
func (p *DKIM) reload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		p.log.Error("dkim: a key cannot be read; those that were read before go on signing", zap.Error(err))
	}
}

// Cleanup ends the watch.
func (p *DKIM) Cleanup() error {
	if p.watch == nil {
		return nil
	}
	return p.watch.Close()
}

// Interface guards
var (
	_ caddy.Provisioner      = (*DKIM)(nil)
	_ caddy.CleanerUpper     = (*DKIM)(nil)
	_ caddymsa.MessagePolicy = (*DKIM)(nil)
)
