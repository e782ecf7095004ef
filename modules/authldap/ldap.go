// Package authldap authenticates the users of an LDAP directory: OpenLDAP, 389 Directory Server,
// Active Directory and others.
package authldap

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(LDAP))
}

// LDAP authenticates users against a directory (RFC 4511), in one of three ways: it binds as the
// user, whose DN follows from the name; it searches for the user's entry and then binds as that;
// or it reads the stored password and compares it here. The last one can serve DIGEST-MD5 and
// SCRAM too, where clear passwords or their keys are stored.
//
// In DNs and filters, {user} is the name as the client gave it, in lower case unless Case is exact, {local} and {domain}
// what stands before and after its last "@"; what replaces them is escaped. A directory that does
// not answer is never a refusal: the client is told to try again.
type LDAP struct {
	// Servers hold the same directory, and are asked in order: one that fails is avoided for 30 s.
	// ldaps://host[:port], ldap://host[:port] or ldapi:///path/of/socket. Required.
	// ldap:// means StartTLS, except to this machine. Placeholders such as {env.*} and {file.*} in
	// servers, bind_dn and bind_password are resolved once, when the configuration is loaded.
	Servers []string `json:"servers,omitempty"`

	// StartTLS for ldap:// to this machine, too.
	StartTLS bool `json:"start_tls,omitempty"`

	// InsecurePlaintext sends passwords in clear text through the network to ldap:// servers.
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`

	conf.TLSClient

	// BindDN and BindPassword are those of the service account that searches. Default: in
	// a search before the bind, anonymous.
	BindDN       string      `json:"bind_dn,omitempty"`
	BindPassword conf.Secret `json:"bind_password,omitempty"`

	// BindExternal searches as whom the client certificate, or the user of this process at
	// ldapi://, stands for (SASL EXTERNAL).
	BindExternal bool `json:"bind_external,omitempty"`

	// UserDN is the DN to bind as, as in uid={local},ou=people,dc=example,dc=org. What is not a DN, such as
	// {local}@corp.example.org, is for Active Directory. Default: search for it.
	UserDN string `json:"user_dn,omitempty"`

	// Base of the search for the user's entry. Default: the entry is the one of UserDN.
	Base string `json:"base,omitempty"`

	// Scope of the search: sub or one. Default sub.
	Scope string `json:"scope,omitempty"`

	// Filter that exactly one entry must match. Default, with a Base: (&(objectClass=person)(mail={user})).
	Filter string `json:"filter,omitempty"`

	// UserAttributes are attributes of which one must have the name, compared as Case says, as
	// a value, whose spelling becomes the identity's name. Default: any name that matches will do,
	// in lower case.
	UserAttributes []string `json:"user_attributes,omitempty"`

	// Case is how names compare: fold, without regard to case, or exact, for which UserAttributes are required, as
	// directories find bob for BOB. Default fold.
	Case names.Case `json:"case,omitempty"`

	// Domains that a name may have after "@"; other names are unknown. Required where {local} is
	// asked for without {domain} or UserAttributes: alice@elsewhere is not alice. Default: any.
	Domains []string `json:"domains,omitempty"`

	// PasswordAttribute is where the stored password is read, as in userPassword. Default: passwords
	// are checked by binding.
	PasswordAttribute string `json:"password_attribute,omitempty"`

	// Addresses are attributes with addresses that the user may send as.
	Addresses []string `json:"addresses,omitempty"`

	// Attributes are those that become attributes of the identity; several values are separated by
	// commas.
	Attributes []string `json:"attributes,omitempty"`

	// Disabled is an attribute whose values, except FALSE, no, 0 and the like, disable the user, or a
	// filter that disabled ones match. Default: no user is.
	Disabled string `json:"disabled,omitempty"`

	// Fingerprint are attributes whose change ends the user's open sessions. Default: ids of the entry
	// and the times of a password change that known servers keep; not used with PasswordAttribute.
	Fingerprint []string `json:"fingerprint,omitempty"`

	// DecoyDN is an entry with a password that nobody knows, bound as in place of users who do not
	// exist. Default: the DN of no entry, which a server may refuse sooner than a wrong password.
	DecoyDN string `json:"decoy_dn,omitempty"`

	// Decoy is what the password of an unknown user is compared with until a first real one was seen:
	// a scheme of `caddy msa user`, or a credential in the directory's own form. Default a {SSHA} one.
	Decoy string `json:"decoy,omitempty"`

	// Timeout of an answer, with all that belongs to it. Default 5s.
	Timeout conf.Duration `json:"timeout,omitempty"`

	// Concurrency to each server, for searches and for logins each. Default 8.
	Concurrency int `json:"concurrency,omitempty"`

	// Cache is how long a password that was right is not checked again, while the entry is found
	// and its fingerprint is the same. Default: always check.
	Cache conf.Duration `json:"cache,omitempty"`

	dir    *directory
	log    *zap.Logger
	key    *directoryKey     // of dir in the pool
	stored *tableauth.Remote // with PasswordAttribute
	binds  *binder           // without
}

// CaddyModule returns the Caddy module information.
func (*LDAP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.ldap", New: func() caddy.Module { return new(LDAP) }}
}

// directories are shared by all configurations that ask the same.
var directories = caddy.NewUsagePool()

// Provision asks for a user who does not exist: settings that do not fit the directory fail the load. A
// directory that does not answer does not.
func (l *LDAP) Provision(ctx caddy.Context) error {
	log := terminal.Logger(ctx.Logger())
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	o, key, err := l.resolve(secret, log)
	if err != nil {
		return err
	}
	pooled, _, err := directories.LoadOrNew(key, func() (caddy.Destructor, error) { return newDirectory(o) })
	if err != nil {
		return err
	}
	l.key, l.dir = &key, pooled.(*directory)
	l.log = log
	l.dir.log.add(log)
	cache := authcache.New(time.Duration(l.Cache), nil)
	if o.passwordAttribute != "" {
		l.stored = tableauth.NewRemote(l.dir.fetch, l.dir.seen, secret, cache)
		l.stored.Case = l.Case
	} else {
		l.binds = &binder{directory: l.dir, cache: cache}
	}
	if l.InsecurePlaintext {
		log.Warn("passwords go to the LDAP servers in clear text; leave insecure_plaintext out, and StartTLS is used")
	}
	if err := l.dir.probe(ctx); err != nil {
		if mistaken(err) {
			return err
		}
		log.Warn("the directory does not answer; logins have to wait until it does", zap.Error(err))
	}
	return nil
}

// Serves implements caddymsa.Selective: stored passwords serve more than binds do, and only who
// may search can be asked about a user.
func (l *LDAP) Serves(c caddymsa.Capability) bool {
	switch c {
	case caddymsa.CapDigest, caddymsa.CapSCRAM:
		return l.stored != nil
	case caddymsa.CapLookup:
		return l.dir.service
	}
	return true
}

// VerifyPassword implements caddymsa.PasswordVerifier.
func (l *LDAP) VerifyPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	if l.stored != nil {
		return l.stored.VerifyPassword(ctx, peer, fold(l.Case, user), password)
	}
	return l.binds.verify(ctx, user, password)
}

// DigestCredentials implements caddymsa.DigestStore.
func (l *LDAP) DigestCredentials(ctx context.Context, peer caddymsa.Peer, user, realm string) ([]caddymsa.DigestCredential, error) {
	return l.stored.DigestCredentials(ctx, peer, user, realm)
}

// SCRAMCredential implements caddymsa.SCRAMStore. The name is folded here already: a salt that
// is the same for ALICE and alice must not tell that there is such a user.
func (l *LDAP) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	return l.stored.SCRAMCredential(ctx, peer, fold(l.Case, user))
}

// Lookup implements caddymsa.Lookuper.
func (l *LDAP) Lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	if l.stored != nil {
		return l.stored.Lookup(ctx, peer, user)
	}
	return l.binds.lookup(ctx, user)
}

// Revision implements caddymsa.Revisioner. A directory does not say when it changes, so it is another
// one each time: open sessions are looked up before every message.
func (l *LDAP) Revision() uint64 { return l.dir.asked.Add(1) }

// Reload implements caddymsa.Reloader: nothing is held but passwords that were right.
func (l *LDAP) Reload(context.Context) error {
	if l.binds != nil {
		l.binds.reloads.Add(1)
	}
	return nil
}

// Cleanup gives the connections back, which the next configuration may use already.
func (l *LDAP) Cleanup() error {
	if l.key == nil {
		return nil
	}
	l.dir.log.remove(l.log)
	_, err := directories.Delete(*l.key)
	l.key = nil
	return err
}

// Interface guards
var (
	_ caddy.Provisioner         = (*LDAP)(nil)
	_ caddy.CleanerUpper        = (*LDAP)(nil)
	_ caddyfile.Unmarshaler     = (*LDAP)(nil)
	_ caddymsa.Selective        = (*LDAP)(nil)
	_ caddymsa.PasswordVerifier = (*LDAP)(nil)
	_ caddymsa.DigestStore      = (*LDAP)(nil)
	_ caddymsa.SCRAMStore       = (*LDAP)(nil)
	_ caddymsa.Lookuper         = (*LDAP)(nil)
	_ caddymsa.Revisioner       = (*LDAP)(nil)
	_ caddymsa.Reloader         = (*LDAP)(nil)
)
