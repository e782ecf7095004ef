package app

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Auth says who may submit.
type Auth struct {
	// Mechanisms are the SASL mechanisms to offer, in the order announced. Default: those that every user
	// of some backend can use, as far as is known, without SCRAM-SHA-256-PLUS.
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
	Reauth conf.Duration `json:"reauth,omitempty"`
	// Timeout is how long a backend may take for an answer, including the wait for its turn to
	// hash a password; then the client gets 454. Backends that ask others have a shorter one
	// of their own. Default 30s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Throttle slows guessing of passwords down and blocks it.
	Throttle gate.Throttle `json:"throttle,omitzero"`

	srv      *Server
	servable []mechanism // where none are listed
	backends []*backend
	decoy    []byte
}

// backend is a loaded auth module.
type backend struct {
	id     string
	config [sha256.Size]byte // of its JSON
	module any

	reloads atomic.Uint64
}

func (a *Auth) provision(ctx caddy.Context, srv *Server) (err error) {
	a.srv = srv
	if len(a.BackendsRaw) == 0 {
		return errors.New("at least one backend is required, as in file users.passwd")
	}
	if err := conf.SetDefault(&a.Reauth, conf.Duration(10*time.Minute), "reauth"); err != nil {
		return err
	}
	if err := conf.SetDefault(&a.Timeout, conf.Duration(30*time.Second), "timeout"); err != nil {
		return err
	}
	if err := a.Throttle.Provision(srv.name, srv.log); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	if err := srv.app.canCount(&a.Throttle); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	if err := conf.ExpandAll(conf.PlaceList("realms", a.Realms), conf.PlaceList("digest_hosts", a.DigestHosts)); err != nil {
		return err
	}
	for i, realm := range a.Realms {
		if slices.Contains(a.Realms[:i], realm) {
			return fmt.Errorf("realms: %s is specified twice", realm)
		}
	}
	if len(a.Realms) == 0 {
		a.Realms = []string{srv.Hostname}
	}
	if a.decoy, err = caddymsa.DecoySecret(ctx); err != nil {
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
	if err := a.checkAnnounced(); err != nil {
		return err
	}
	a.tellOfUsers(srv.log)
	return nil
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
	raws := slices.Clone(a.BackendsRaw) // which loading empties
	mods, err := ctx.LoadModule(a, "BackendsRaw")
	if err != nil {
		return a.srv.backendError(raws, err)
	}
	for i, mod := range mods.([]any) {
		a.backends[i].module = mod
	}
	for i, b := range a.backends {
		if err := a.introduce(b); err != nil {
			return a.srv.item("the "+places.Ordinal(i+1)+" auth backend", raws[i], err)
		}
	}
	return nil
}

// introduce has a backend meet the others, if it needs them.
func (a *Auth) introduce(b *backend) error {
	companion, ok := b.module.(caddymsa.Companion)
	if !ok {
		return nil
	}
	var others []caddymsa.Neighbor
	for _, other := range a.backends {
		if other != b {
			others = append(others, caddymsa.Neighbor{ID: other.id, Module: other.module})
		}
	}
	return companion.Meet(others)
}

func (a *Auth) timeout() time.Duration { return time.Duration(a.Timeout) }

func (a *Auth) digestConfig() sasl.DigestConfig {
	hosts := append([]string{a.srv.Hostname}, a.DigestHosts...)
	for _, host := range a.DigestHosts {
		if ascii, err := asciiHostname(host); err == nil && ascii != host {
			hosts = append(hosts, ascii) // clients write either
		}
	}
	return sasl.DigestConfig{Realms: a.Realms, Hosts: hosts}
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
