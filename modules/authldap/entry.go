package authldap

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// fold makes one name of those that a directory takes for the same, since its usual matching
// rules ignore case and repeated spaces (RFC 4518): else limits by user could be dodged.
func fold(c names.Case, name string) string {
	if prepared, err := sasl.PrepareQuery(name); err == nil {
		name = prepared
	}
	name = c.Key(name)
	for strings.Contains(name, "  ") {
		name = strings.ReplaceAll(name, "  ", " ")
	}
	return name
}

// admits tells whether anybody can have the name.
func (o *options) admits(name string) bool {
	if passwd.CheckName(name) != nil {
		return false
	}
	_, domain := split(name)
	if domain == "" || len(o.domains) == 0 {
		return true
	}
	ascii, err := mailaddr.ASCIIDomain(domain)
	return err == nil && slices.Contains(o.domains, ascii)
}

// request is the search for the entry of a name.
func (o *options) request(name string) (r *ldap.SearchRequest, err error) {
	r = &ldap.SearchRequest{
		Scope: o.scope, DerefAliases: ldap.NeverDerefAliases, Attributes: o.wanted,
		SizeLimit: 2, TimeLimit: max(1, int(o.timeout/time.Second)),
	}
	where := o.base
	if !o.searches {
		where, r.Scope = o.userDN, ldap.ScopeBaseObject
	}
	if r.BaseDN, err = where.expand(name); err == nil {
		r.Filter, err = o.filter.expand(name)
	}
	return r, err
}

// find returns the one entry of a name, as the service account; or an ErrCredentials that says why there
// is none.
func (d *directory) find(ctx context.Context, name string) (entry *ldap.Entry, err error) {
	if !d.admits(name) {
		return nil, caddymsa.ErrUnknownUser
	}
	ctx, cancel := d.within(ctx)
	defer cancel()
	var why error // which is not a failure of the server
	err = d.do(ctx, searches, func(_ *server, c *conn) error {
		entry, err = d.search(c, name)
		if errors.Is(err, caddymsa.ErrCredentials) {
			why, err = err, nil
		}
		return err
	})
	if err == nil {
		err = why
	}
	if err != nil {
		return nil, err
	}
	return entry, nil
}

// search returns the one entry of a name that stands, or an ErrCredentials.
func (d *directory) search(c *conn, name string) (*ldap.Entry, error) {
	r, err := d.request(name)
	if err != nil {
		return nil, caddymsa.ErrUnknownUser
	}
	result, err := c.Search(r)
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) && (!d.searches || !d.base.fixed()):
		return nil, caddymsa.ErrUnknownUser // the name has a part in the DN
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		// There are more than two.
	case err != nil && broken(err):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("searching for the user: %w", err)
	case len(result.Entries) == 0:
		return nil, caddymsa.ErrUnknownUser
	case len(result.Entries) == 1:
		return d.standing(name, result.Entries[0])
	}
	d.complain(name, "more than one LDAP entry matches, so the user is refused", zap.String("user", name), zap.String("filter", r.Filter))
	return nil, fmt.Errorf("%w: more than one LDAP entry matches", caddymsa.ErrUnknownUser)
}

// complain has a line in the log about a user or an entry, of each kind one an hour: strangers can have them looked up.
func (d *directory) complain(about, message string, fields ...zap.Field) {
	if d.complaints.Due(message + "\x00" + about) {
		d.log.Load().Warn(message, fields...)
	}
}

// standing returns the entry if it has the name and is not disabled, or an ErrCredentials.
func (d *directory) standing(name string, entry *ldap.Entry) (*ldap.Entry, error) {
	if d.disabledAttribute != "" && slices.ContainsFunc(values(entry, d.disabledAttribute), isTrue) {
		return nil, fmt.Errorf("%w: attribute %s of %q", caddymsa.ErrDisabled, d.disabledAttribute, entry.DN)
	}
	if len(d.userAttributes) > 0 && d.spelling(name, entry) == "" {
		d.complain(name, "an LDAP entry matches whose user_attributes do not have the name, so the user is refused",
			zap.String("user", name), zap.String("dn", entry.DN))
		return nil, fmt.Errorf("%w: user_attributes of the LDAP entry do not have the name", caddymsa.ErrUnknownUser)
	}
	return entry, nil
}

// spelling returns the value of the entry that is the name.
func (d *directory) spelling(name string, entry *ldap.Entry) string {
	for _, attribute := range d.userAttributes {
		for _, value := range values(entry, attribute) {
			if fold(d.fold, value) == name && passwd.CheckName(value) == nil {
				return value
			}
		}
	}
	return ""
}

// values are sorted, since a directory has them in no order.
func values(entry *ldap.Entry, attribute string) []string {
	all := slices.Clone(entry.GetEqualFoldAttributeValues(attribute))
	slices.Sort(all)
	return all
}

// isTrue takes everything for true that is not plainly false, so that a time disables too.
func isTrue(value string) bool {
	switch strings.ToLower(value) {
	case "", "0", "f", "false", "n", "no", "off":
		return false
	}
	return true
}

// user is what an entry says of a user, without passwords.
func (d *directory) user(name string, entry *ldap.Entry) *tableauth.Record {
	rec := &tableauth.Record{User: passwd.User{Name: name}}
	if spelt := d.spelling(name, entry); spelt != "" {
		rec.Name = spelt
	}
	for _, attribute := range d.addresses {
		for _, value := range values(entry, attribute) {
			text, ours := address(value)
			if !ours {
				continue
			}
			if err := rec.AddAddress(text); err != nil {
				d.complain(entry.DN, "an address in the directory cannot be parsed, and is left out", zap.String("dn", entry.DN), zap.String("attribute", attribute), zap.Error(err))
			}
		}
	}
	if len(d.attributes) > 0 {
		rec.Attributes = make(map[string]string, len(d.attributes))
		for _, attribute := range d.attributes {
			if all := values(entry, attribute); len(all) > 0 {
				rec.Attributes[attribute] = strings.Join(all, ",")
			}
		}
	}
	return rec
}

// address reads a value such as alice@example.org, or smtp:alice@example.org as Active Directory's
// proxyAddresses have it beside those of other systems, which are not ours.
func address(value string) (string, bool) {
	if system, rest, ok := strings.Cut(value, ":"); ok && !strings.ContainsAny(system, "@\"") {
		return rest, strings.EqualFold(system, "smtp")
	}
	return value, true
}

// fetch is a tableauth.Fetch.
func (d *directory) fetch(ctx context.Context, name string) (*tableauth.Record, error) {
	name = fold(d.fold, name)
	entry, err := d.find(ctx, name)
	switch {
	case errors.Is(err, caddymsa.ErrDisabled):
		return &tableauth.Record{User: passwd.User{Name: name, Disabled: true}}, nil
	case errors.Is(err, caddymsa.ErrCredentials):
		return nil, nil
	case err != nil:
		return nil, err
	}
	rec := d.user(name, entry)
	for _, value := range values(entry, d.passwordAttribute) {
		if err := rec.AddPassword(credential(value)); err != nil { // which does not repeat it
			d.complain(entry.DN, "a stored password cannot be used", zap.String("dn", entry.DN), zap.Error(err))
		}
	}
	if rec.Problem != nil {
		d.complain(entry.DN, "a stored password cannot be used", zap.String("dn", entry.DN), zap.Error(rec.Problem))
		rec.Disabled = rec.Disabled || len(rec.Credentials) == 0
	}
	if len(rec.Credentials) == 0 && !rec.Disabled {
		d.complain(entry.DN, "no stored password of the user can be read", zap.String("dn", entry.DN), zap.String("attribute", d.passwordAttribute))
	}
	return rec, nil
}

// fingerprintOf changes when the password does, as far as the directory says so, and when the
// entry is another.
func (o *options) fingerprintOf(entry *ldap.Entry) string {
	mac := hmac.New(sha256.New, o.secret)
	write := func(s string) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		mac.Write([]byte(s))
	}
	for _, attribute := range o.fingerprint {
		write(attribute)
		for _, value := range values(entry, attribute) {
			write(value)
		}
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
