package authldap

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// Defaults of settings.
const (
	DefaultFilter      = "(&(objectClass=person)(mail={user}))"
	DefaultTimeout     = 5 * time.Second
	DefaultConnections = 8
)

// scopes are how deep a search goes: below the base, or right below it.
var scopes = []string{"sub", "one"}

// defaultDecoy is OpenLDAP's own default scheme.
const defaultDecoy = "{SSHA}xp0sqw7nZCpM2F4kUmxwfJdWwo8XqsBrV1t2uQ=="

// defaultFingerprint are the ids of an entry and the times of its last change of password that
// servers keep: OpenLDAP, 389 DS, FreeIPA, Active Directory, Samba.
var defaultFingerprint = []string{"entryUUID", "nsUniqueId", "objectGUID", "pwdChangedTime", "passwordLastChanged", "krbLastPwdChange", "pwdLastSet", "sambaPwdLastSet"}

// options are settings, checked and resolved.
type options struct {
	urls                []string
	startTLS, plaintext bool
	tls                 *tls.Config // of no server in particular

	bindDN, bindPassword string
	external             bool
	service              bool // somebody searches who is not the user

	userDN   template // to bind as; fixed: the entry's own
	searches bool     // in base, with filter; else the entry is the one of userDN
	base     template
	scope    int
	filter   template
	reads    bool     // something in the entry counts
	wanted   []string // attributes

	fold                    names.Case
	userAttributes, domains []string
	passwordAttribute       string
	addresses, attributes   []string
	disabledAttribute       string
	fingerprint             []string

	decoyDN   string
	decoyUser *passwd.User // with passwordAttribute
	secret    []byte

	timeout     time.Duration
	connections int
}

// directoryKey is the same for settings that ask the same.
type directoryKey [sha256.Size]byte

// resolve checks the settings and replaces placeholders.
func (l *LDAP) resolve(secret []byte, log *zap.Logger) (*options, directoryKey, error) {
	o := &options{
		startTLS: l.StartTLS, plaintext: l.InsecurePlaintext, external: l.BindExternal,
		service: l.BindDN != "" || l.BindExternal || l.UserDN == "",
		fold:    l.Case, userAttributes: l.UserAttributes, passwordAttribute: l.PasswordAttribute, addresses: l.Addresses, attributes: l.Attributes,
		fingerprint: l.Fingerprint, decoyDN: l.DecoyDN, secret: secret,
		timeout: time.Duration(l.Timeout), connections: l.Concurrency,
	}
	for _, check := range []func() error{
		func() error { return l.resolveConnection(o, log) },
		func() error { return l.resolveUser(o) },
		func() error { return l.resolveEntry(o) },
	} {
		if err := check(); err != nil {
			return nil, directoryKey{}, err
		}
	}
	client, err := l.TLSClient.Digest()
	if err != nil {
		return nil, directoryKey{}, err
	}
	settings, err := json.Marshal(l)
	if err != nil {
		return nil, directoryKey{}, err
	}
	return o, sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", settings, strings.Join(append(o.urls, o.bindDN, o.bindPassword), "\x00"), client, secret)), nil
}

func (l *LDAP) resolveConnection(o *options, log *zap.Logger) (err error) {
	if len(l.Servers) == 0 {
		return errors.New("a server is required, as in ldap ldaps://ldap.example.org")
	}
	for _, text := range l.Servers {
		if text, err = conf.Expand(text); err != nil {
			return fmt.Errorf("servers: %w", err)
		}
		o.urls = append(o.urls, text)
	}
	for _, name := range []string{"{user}", "{local}", "{domain}"} {
		if strings.Contains(l.BindDN, name) {
			return errors.New("bind_dn is the service account, the same for all; to bind as the user write user_dn")
		}
	}
	if o.bindDN, err = conf.Expand(l.BindDN); err != nil {
		return fmt.Errorf("bind_dn: %w", err)
	}
	password, err := l.BindPassword.Resolve("bind_password", log)
	if err != nil {
		return err
	}
	o.bindPassword = password.Value()
	if o.timeout == 0 {
		o.timeout = DefaultTimeout
	}
	if o.connections == 0 {
		o.connections = DefaultConnections
	}
	switch {
	case (o.bindDN == "") != (o.bindPassword == ""):
		return errors.New("bind_dn and bind_password belong together; without a password a server takes everybody for anonymous")
	case l.BindExternal && l.BindDN != "":
		return errors.New("bind_external and bind_dn are two ways to do the same; leave one out")
	case l.StartTLS && !slices.ContainsFunc(o.urls, func(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ldap://") }):
		return errors.New("start_tls is for ldap://, and no server is written so; leave it out")
	case l.StartTLS && l.InsecurePlaintext:
		return errors.New("start_tls and insecure_plaintext contradict one another; leave insecure_plaintext out")
	case o.timeout < 0 || o.connections < 0 || l.Cache < 0:
		return errors.New("timeout, concurrency and cache cannot be negative")
	case l.Cache > 0 && !o.service:
		return errors.New("cache needs a service account: without one nobody would notice that a user is gone; add bind_dn and bind_password")
	case l.PasswordAttribute != "" && !o.service:
		return errors.New("password_attribute needs a service account that may read it; add bind_dn and bind_password")
	}
	o.tls, err = l.TLSClient.Config()
	return err
}

// resolveUser says how a name becomes an entry and a DN to bind as.
func (l *LDAP) resolveUser(o *options) (err error) {
	isDN := false
	if l.UserDN != "" {
		if o.userDN, isDN, err = newBindName(l.UserDN); err != nil {
			return fmt.Errorf("user_dn: %w", err)
		}
		if !o.userDN.has("user") && !o.userDN.has("local") {
			return errors.New("user_dn is the same for everybody; write {user} or {local} where the name goes")
		}
	}
	filter := l.Filter
	if l.Base != "" {
		o.searches = true
		if o.base, err = newDN(l.Base); err != nil {
			return fmt.Errorf("base: %w", err)
		}
		if filter == "" {
			filter = DefaultFilter
		}
	} else if l.UserDN == "" {
		return errors.New("user_dn or base is required: bind as uid={local},ou=people,dc=example,dc=org, or search below ou=people,dc=example,dc=org")
	}
	o.scope = ldap.ScopeWholeSubtree
	if l.Scope != "" {
		if err := conf.OneOf(l.Scope, scopes...); err != nil {
			return fmt.Errorf("scope: %w", err)
		}
		if l.Scope == "one" {
			o.scope = ldap.ScopeSingleLevel
		}
	}
	if strings.HasPrefix(l.Disabled, "(") {
		if filter == "" {
			filter = "(objectClass=*)"
		}
		filter = "(&" + filter + "(!" + l.Disabled + "))"
	} else {
		o.disabledAttribute = l.Disabled
	}
	o.reads = o.searches || filter != "" || l.Disabled != "" || len(l.UserAttributes)+len(l.Addresses)+len(l.Attributes) > 0
	if (o.reads || o.service) && !o.searches && !isDN {
		return errors.New("user_dn is not a DN, so the entry cannot be read; add base and filter")
	}
	if filter == "" {
		filter = "(objectClass=*)"
	}
	if o.filter, err = newFilter(filter); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if o.searches && !o.filter.has("user") && !o.filter.has("local") {
		return errors.New("filter: it is the same for everybody; write {user} or {local} where the name goes")
	}
	return l.resolveNames(o)
}

// resolveNames sees to it that a name is proven as a whole: it gives the right to send as it.
func (l *LDAP) resolveNames(o *options) error {
	if l.Case == names.Exact && len(o.userAttributes) == 0 {
		return errors.New("case exact: the directory finds bob for BOB; say where it has the name as it is to be spelled, as in user_attributes mail")
	}
	for _, domain := range l.Domains {
		ascii, err := mailaddr.ASCIIDomain(domain)
		if err != nil {
			return fmt.Errorf("domains: %w", err)
		}
		o.domains = append(o.domains, strings.ToLower(ascii))
	}
	local := o.userDN.has("local") || o.filter.has("local")
	if local && !o.userDN.has("domain") && !o.base.has("domain") && len(o.domains)+len(o.userAttributes) == 0 {
		return errors.New("{local} takes alice@anywhere for alice; say which domains are yours, as in domains example.org, or where the directory has the whole name, as in user_attributes mail")
	}
	return nil
}

// resolveEntry says what is read of an entry.
func (l *LDAP) resolveEntry(o *options) error {
	if len(o.fingerprint) == 0 {
		o.fingerprint = defaultFingerprint
	}
	o.wanted = slices.Concat(o.userAttributes, o.addresses, o.attributes)
	if o.disabledAttribute != "" {
		o.wanted = append(o.wanted, o.disabledAttribute)
	}
	if o.passwordAttribute != "" {
		o.wanted = append(o.wanted, o.passwordAttribute)
	} else {
		o.wanted = append(o.wanted, o.fingerprint...)
	}
	if o.decoyDN != "" {
		if _, err := ldap.ParseDN(o.decoyDN); err != nil {
			return fmt.Errorf("decoy_dn: %q is not a DN: %w", o.decoyDN, err)
		}
	}
	decoy := cmp.Or(l.Decoy, defaultDecoy)
	if strings.HasPrefix(decoy, "{") {
		decoy = credential(decoy)
	}
	var err error
	o.decoyUser, err = passwd.NewDecoy([]string{decoy})
	return err
}
