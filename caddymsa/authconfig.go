package caddymsa

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Auth says who may submit.
type Auth struct {
	// Mechanisms are the SASL mechanisms to offer, in the order announced. Default: all
	// that the backends can serve.
	Mechanisms []string `json:"mechanisms,omitempty"`
	// Realms of DIGEST-MD5. Default: the hostname.
	Realms []string `json:"realms,omitempty"`
	// DigestHosts are names, beside the hostname, that clients may write into the
	// digest-uri of DIGEST-MD5: some write the name or address they were told to
	// connect to.
	DigestHosts []string `json:"digest_hosts,omitempty"`
	// AnnounceBeforeTLS are mechanisms that EHLO names before TLS, where AUTH itself is refused
	// all the same. Default: DIGEST-MD5, if it is offered. Empty list: none. What
	// sends a password or token cannot be listed.
	AnnounceBeforeTLS []string `json:"announce_before_tls,omitzero"`
	// Backends check credentials, in order. Beside its own fields, a backend may have
	// an "id": open sessions are looked up in the backend of the same id after a
	// reload. Default: the module's name, with #2, #3 ... for more of a kind.
	BackendsRaw []json.RawMessage `json:"backends,omitempty" caddy:"namespace=msa.auth inline_key=module"`
	// Reauth is how long a session may go on whose backend cannot look a user up
	// again. Default 10m.
	Reauth caddy.Duration `json:"reauth,omitempty"`
	// Timeout is how long a backend may take for an answer, including the wait for its turn to
	// hash a password; then the client hears 454. Backends that ask others have a shorter one
	// of their own. Default 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Throttle slows guessing of passwords down and blocks it.
	Throttle Throttle `json:"throttle,omitzero"`

	srv      *Server
	offered  []string
	backends []*backend
	decoy    []byte
}

// backend is a loaded auth module.
type backend struct {
	id     string
	config [sha256.Size]byte // of its JSON
	module any
}

// mechanisms that the server knows, in the order announced by default, and what a
// backend needs to serve each.
var mechanisms = []struct {
	name  string
	needs Capability
	early bool // may be announced before TLS
}{
	{sasl.External, CapCertificate, true},
	{sasl.SCRAMSHA256Plus, CapSCRAM, true},
	{sasl.SCRAMSHA256, CapSCRAM, true},
	{sasl.DigestMD5, CapDigest, true},
	{sasl.Plain, CapPassword, false},
	{sasl.Login, CapPassword, false},
	{sasl.OAuthBearer, CapToken, false},
	{sasl.XOAuth2, CapToken, false},
}

// as returns the backend as T, if it serves that.
func as[T any](b *backend, c Capability) (module T, ok bool) {
	if s, selective := b.module.(Selective); selective && !s.Serves(c) {
		return module, false
	}
	module, ok = b.module.(T)
	return module, ok
}

// can tells whether the backend serves what the capability stands for.
func (b *backend) can(c Capability) (ok bool) {
	switch c {
	case CapPassword:
		_, ok = as[PasswordVerifier](b, c)
	case CapDigest:
		_, ok = as[DigestStore](b, c)
	case CapSCRAM:
		_, ok = as[SCRAMStore](b, c)
	case CapToken:
		_, ok = as[TokenVerifier](b, c)
	case CapCertificate:
		_, ok = as[CertificateMapper](b, c)
	}
	return ok
}

// proxies tells whether the backend has whole exchanges of the mechanism decided elsewhere.
func (b *backend) proxies(mechanism string) (MechanismProxy, bool) {
	p, ok := as[MechanismProxy](b, CapProxy)
	if !ok || !slices.Contains(p.ProxiedMechanisms(), mechanism) {
		return nil, false
	}
	return p, true
}

func (a *Auth) provision(ctx caddy.Context, srv *Server) (err error) {
	a.srv = srv
	if len(a.BackendsRaw) == 0 {
		return errors.New("at least one backend is required, as in file users.passwd")
	}
	if err := setDefault(&a.Reauth, caddy.Duration(10*time.Minute), "reauth"); err != nil {
		return err
	}
	if err := setDefault(&a.Timeout, caddy.Duration(30*time.Second), "timeout"); err != nil {
		return err
	}
	if err := a.Throttle.provision(); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	if len(a.Realms) == 0 {
		a.Realms = []string{srv.Hostname}
	}
	if a.decoy, err = DecoySecret(ctx); err != nil {
		return err
	}
	if err := a.loadBackends(ctx); err != nil {
		return err
	}
	if err := a.chooseMechanisms(); err != nil {
		return err
	}
	if err := a.digestConfig().Validate(); err != nil {
		return fmt.Errorf("realms: %w", err)
	}
	return a.checkAnnounced()
}

// loadBackends takes the id out of each object, which the module does not know.
func (a *Auth) loadBackends(ctx caddy.Context) error {
	ids := make(map[string]int)
	for i, raw := range a.BackendsRaw {
		var object map[string]json.RawMessage
		var module, id string
		err := json.Unmarshal(raw, &object)
		if err == nil && object["module"] != nil {
			err = json.Unmarshal(object["module"], &module)
		}
		if err == nil && object["id"] != nil {
			err = json.Unmarshal(object["id"], &id)
		}
		if err != nil {
			return fmt.Errorf("backend %d: %w", i+1, err)
		}
		delete(object, "id")
		if a.BackendsRaw[i], err = json.Marshal(object); err != nil {
			return fmt.Errorf("backend %d: %w", i+1, err)
		}
		if id == "" {
			id = module
			if ids[module]++; ids[module] > 1 {
				id = fmt.Sprintf("%s#%d", module, ids[module])
			}
		}
		if slices.ContainsFunc(a.backends, func(b *backend) bool { return b.id == id }) {
			return fmt.Errorf("backend %d: id %q is taken", i+1, id)
		}
		a.backends = append(a.backends, &backend{id: id, config: sha256.Sum256(a.BackendsRaw[i])})
	}
	mods, err := ctx.LoadModule(a, "BackendsRaw")
	if err != nil {
		return err
	}
	for i, mod := range mods.([]any) {
		a.backends[i].module = mod
	}
	return nil
}

// chooseMechanisms offers what was asked for, or all that can be served.
func (a *Auth) chooseMechanisms() error {
	for i, name := range a.Mechanisms {
		a.Mechanisms[i] = strings.ToUpper(name)
	}
	known := make(map[string]bool)
	for _, m := range mechanisms {
		known[m.name] = true
		served, err := a.served(m.name, m.needs)
		switch {
		case err != nil:
			return err
		case len(a.Mechanisms) == 0 && served:
			a.offered = append(a.offered, m.name)
		case slices.Contains(a.Mechanisms, m.name) && !served:
			return fmt.Errorf("mechanism %s: no backend can serve it; backends: %s", m.name, a.describeBackends())
		}
	}
	for _, name := range a.Mechanisms {
		if !known[name] {
			return fmt.Errorf("mechanism %s: is not known; use some of %s", name, strings.Join(allMechanisms(), ", "))
		}
		if slices.Contains(a.offered, name) {
			return fmt.Errorf("mechanism %s: is listed twice", name)
		}
		a.offered = append(a.offered, name)
	}
	if len(a.offered) == 0 {
		return fmt.Errorf("no backend can serve a mechanism; backends: %s", a.describeBackends())
	}
	return nil
}

// served tells whether any backend serves the mechanism. One that proxies it must be
// the only one: an exchange has one partner.
func (a *Auth) served(mechanism string, needs Capability) (bool, error) {
	var proxy string
	var all []string
	for _, b := range a.backends {
		if _, ok := b.proxies(mechanism); ok {
			proxy = b.id
		} else if !b.can(needs) {
			continue
		}
		all = append(all, b.id)
	}
	wanted := len(a.Mechanisms) == 0 || slices.Contains(a.Mechanisms, mechanism)
	if proxy != "" && len(all) > 1 && wanted {
		return false, fmt.Errorf("mechanism %s: backend %s hands it on whole, so it must be the only backend for it, and there are %s; leave the mechanism out or remove the others",
			mechanism, proxy, strings.Join(all, ", "))
	}
	return len(all) > 0, nil
}

func allMechanisms() (names []string) {
	for _, m := range mechanisms {
		names = append(names, m.name)
	}
	return names
}

// describeBackends is for errors: "file (scram, digest, password)".
func (a *Auth) describeBackends() string {
	var all []string
	for _, b := range a.backends {
		var can []string
		for _, c := range []Capability{CapCertificate, CapSCRAM, CapDigest, CapPassword, CapToken} {
			if b.can(c) {
				can = append(can, string(c))
			}
		}
		if p, ok := as[MechanismProxy](b, CapProxy); ok {
			can = append(can, p.ProxiedMechanisms()...)
		}
		all = append(all, fmt.Sprintf("%s (%s)", b.id, strings.Join(can, ", ")))
	}
	return strings.Join(all, ", ")
}

func (a *Auth) checkAnnounced() error {
	for i, name := range a.AnnounceBeforeTLS {
		name = strings.ToUpper(name)
		a.AnnounceBeforeTLS[i] = name
		for _, m := range mechanisms {
			if m.name == name && !m.early {
				return fmt.Errorf("announce_before_tls: %s would invite clients to send passwords in clear text; leave it out", name)
			}
		}
		if !slices.Contains(a.offered, name) {
			return fmt.Errorf("announce_before_tls: %s is not among the mechanisms: %s", name, strings.Join(a.offered, ", "))
		}
	}
	return nil
}

func (a *Auth) announceBeforeTLS() []string {
	if a.AnnounceBeforeTLS == nil && slices.Contains(a.offered, sasl.DigestMD5) {
		return []string{sasl.DigestMD5}
	}
	return a.AnnounceBeforeTLS
}

func (a *Auth) digestConfig() sasl.DigestConfig {
	return sasl.DigestConfig{Realms: a.Realms, Hosts: append([]string{a.srv.Hostname}, a.DigestHosts...)}
}

// backend returns the backend of an id, or nil.
func (a *Auth) backend(id string) *backend {
	for _, b := range a.backends {
		if b.id == id {
			return b
		}
	}
	return nil
}

// revision changes when the backend's data do, if it says so.
func (b *backend) revision() uint64 {
	if r, ok := b.module.(Revisioner); ok {
		return r.Revision()
	}
	return 0
}
