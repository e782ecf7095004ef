package authdovecot

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// usualDelay is by how much Dovecot holds refusals back, unless its auth_failure_delay says something else.
const usualDelay = 2 * time.Second

// VerifyPassword implements caddymsa.PasswordVerifier.
func (d *Dovecot) VerifyPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	if passwd.CheckName(user) != nil || password == "" || len(password) > passwd.MaxPassword || strings.IndexByte(password, 0) >= 0 {
		// A NUL would shift the fields of PLAIN; the other names nobody can have.
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	key := d.cache.key(d.reloads.Load(), peer.IP, user, password)
	if id, ok := d.cache.get(key); ok {
		if d.master == nil {
			return id, nil
		}
		return d.lookup(ctx, peer, id.User)
	}
	id, err := d.askForms(ctx, peer, user, password)
	if err == nil {
		d.cache.put(key, id)
	}
	return id, err
}

// askForms asks about the password as it was typed and about its other forms, at the same time:
// Dovecot holds each refusal back for a while.
func (d *Dovecot) askForms(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	type outcome struct {
		id  caddymsa.Identity
		err error
	}
	forms := sasl.PasswordForms(password)
	outcomes := make(chan outcome, len(forms))
	for _, form := range forms {
		go func() {
			id, err := d.askPassword(ctx, peer, user, form)
			outcomes <- outcome{id, err}
		}()
	}
	var last outcome
	for range forms {
		o := <-outcomes
		if o.err == nil {
			return o.id, nil
		}
		if last.err == nil || errors.Is(last.err, caddymsa.ErrCredentials) { // what cannot be told counts more
			last = o
		}
	}
	return caddymsa.Identity{}, last.err
}

func (d *Dovecot) askPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	begin := time.Now()
	answer, err := d.clients.ask(ctx, plain, "AUTH", d.authenticate(peer, plain, []byte("\x00"+user+"\x00"+password)))
	if err != nil {
		return caddymsa.Identity{}, err
	}
	if answer.command == "CONT" {
		return caddymsa.Identity{}, errors.New("a user name and a password are not enough for Dovecot")
	}
	return d.conclude(ctx, peer, answer, begin)
}

// authenticate is an AUTH command's parameters. Without a response the client sent none.
//
// no-penalty, since Dovecot would hold logins back by the number of refusals of a network, longer
// than we may wait: guessing is throttled here. secured, since nobody is asked for AUTH before
// TLS. nologin is not sent: the user does not log in to a process of Dovecot's, and it has no
// effect on the answer. Nor is final-resp-ok: a mechanism's last word comes as a challenge then,
// which is how SMTP carries it. The response stands last, as Dovecot wants it.
func (d *Dovecot) authenticate(peer caddymsa.Peer, mechanism string, response []byte) string {
	parameters := mechanism + "\tservice=" + escape(d.Service) + "\tsecured\tno-penalty"
	if peer.IP.IsValid() {
		parameters += "\trip=" + escape(peer.IP.Unmap().WithZone("").String())
	}
	if peer.Session != "" {
		parameters += "\tsession=" + escape(peer.Session)
	}
	if response != nil {
		parameters += "\tresp=" + base64.StdEncoding.EncodeToString(response)
	}
	return parameters
}

// conclude turns the last answer to a request that began then into an identity.
func (d *Dovecot) conclude(ctx context.Context, peer caddymsa.Peer, answer reply, begin time.Time) (caddymsa.Identity, error) {
	f := answer.fields
	user, _ := f.get("user")
	switch answer.command {
	case "OK":
	case "FAIL":
		code, _ := f.get("code")
		if f.has("temp") || code == "temp_fail" {
			return caddymsa.Identity{}, errors.New("temporary failure at Dovecot, whose log says more")
		}
		d.refusal.Store(int64(time.Since(begin)))
		return caddymsa.Identity{}, refused(user, f)
	default:
		return caddymsa.Identity{}, fmt.Errorf("unexpected answer from Dovecot: %s", answer.command)
	}
	if f.has("proxy") {
		return caddymsa.Identity{}, fmt.Errorf("user %q is on another server, says Dovecot (proxy), which may be the one that checks the password; ask that one", user)
	}
	if f.has("nologin") {
		// The password was right, and Dovecot does not delay that: we do.
		timer := time.NewTimer(time.Duration(d.refusal.Load()))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return caddymsa.Identity{}, fmt.Errorf("%w: Dovecot says nologin for %q", caddymsa.ErrDisabled, user)
	}
	if err := passwd.CheckName(user); err != nil {
		return caddymsa.Identity{}, fmt.Errorf("name of the user that Dovecot accepts, %q: %w", user, err)
	}
	if d.master == nil {
		return d.identity(user, f), nil
	}
	return d.lookup(ctx, peer, user)
}

// refused has, for the log, what Dovecot says.
func refused(user string, f fields) error {
	detail := fmt.Sprintf("Dovecot refuses %q", user)
	for _, name := range []string{"user_disabled", "pass_expired", "authz"} {
		if f.has(name) {
			detail += ", " + name
		}
	}
	if code, ok := f.get("code"); ok {
		detail += fmt.Sprintf(", %q", code)
	}
	if f.has("user_disabled") || f.has("pass_expired") {
		return fmt.Errorf("%w: %s", caddymsa.ErrDisabled, detail)
	}
	return fmt.Errorf("%w: %s", caddymsa.ErrCredentials, detail)
}

// Lookup implements caddymsa.Lookuper.
func (d *Dovecot) Lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	if passwd.CheckName(user) != nil {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	return d.lookup(ctx, peer, user)
}

// lookup asks the userdb whether there is such a user, and then the passdb whether it has nologin.
// The passdb's no is not heard, nor is its failure: it may be one that cannot be asked without
// a password (PAM), and then says that nobody is there.
func (d *Dovecot) lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	parameters := escape(user) + "\tservice=" + escape(d.Service)
	if peer.IP.IsValid() {
		parameters += "\trip=" + escape(peer.IP.Unmap().WithZone("").String())
	}
	answer, err := d.master.ask(ctx, "", "USER", parameters)
	if err != nil {
		return caddymsa.Identity{}, err
	}
	switch {
	case answer.command == "NOTFOUND":
		return caddymsa.Identity{}, fmt.Errorf("%w: Dovecot's userdb does not know %q", caddymsa.ErrUnknownUser, user)
	case answer.command != "USER":
		reason, _ := answer.fields.get("reason")
		return caddymsa.Identity{}, fmt.Errorf("userdb of Dovecot cannot tell: %s %q", answer.command, reason)
	}
	all := answer.fields
	if answer, err = d.master.ask(ctx, "", "PASS", parameters); err != nil {
		return caddymsa.Identity{}, err
	}
	if answer.command == "PASS" {
		if answer.fields.has("nologin") {
			return caddymsa.Identity{}, fmt.Errorf("%w: Dovecot says nologin for %q", caddymsa.ErrDisabled, user)
		}
		all = append(answer.fields, all...) // the last one counts
	}
	return d.identity(user, all), nil
}

// identity takes the fields that were asked for; others may be secrets.
func (d *Dovecot) identity(user string, f fields) caddymsa.Identity {
	id := caddymsa.Identity{User: user}
	if d.AddressesField != "" {
		value, _ := f.get(d.AddressesField)
		for _, text := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
			pattern, err := mailaddr.ParsePattern(text)
			if err != nil {
				d.log.Warn("an address from Dovecot cannot be parsed, and is left out", zap.String("user", user), zap.String("field", d.AddressesField), zap.Error(err))
				continue
			}
			id.Addresses = append(id.Addresses, pattern)
		}
	}
	for _, name := range d.Attributes {
		if value, ok := f.get(name); ok {
			if id.Attributes == nil {
				id.Attributes = make(map[string]string)
			}
			id.Attributes[name] = value
		}
	}
	if d.FingerprintField != "" {
		id.Fingerprint, _ = f.get(d.FingerprintField)
	}
	return id
}
