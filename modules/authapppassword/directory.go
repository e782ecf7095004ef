package authapppassword

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// directory is a backend whose users may have application passwords here.
type directory struct {
	id string
	caddymsa.Lookuper
}

// Meet implements caddymsa.Companion.
func (a *AppPasswords) Meet(others []caddymsa.Neighbor) error {
	a.directories, a.handedOn = nil, make(map[string]bool)
	for _, b := range others {
		if p, ok := caddymsa.As[caddymsa.MechanismProxy](b.Module, caddymsa.CapProxy); ok {
			for _, m := range p.ProxiedMechanisms() {
				a.handedOn[m] = true
			}
		}
		if _, ok := caddymsa.As[caddymsa.SCRAMStore](b.Module, caddymsa.CapSCRAM); ok {
			a.scramElsewhere = true
		}
	}
	switch {
	case a.Unchecked:
		return nil
	case len(a.Backends) > 0:
		return a.choose(others)
	}
	var unable []string
	for _, b := range others {
		_, checks := caddymsa.As[caddymsa.PasswordVerifier](b.Module, caddymsa.CapPassword)
		l, looks := caddymsa.As[caddymsa.Lookuper](b.Module, caddymsa.CapLookup)
		switch {
		case checks && looks && !holdsThemselves(b.Module):
			a.directories = append(a.directories, directory{b.ID, l})
		case !looks:
			unable = append(unable, b.ID)
		}
	}
	if len(a.directories) > 0 {
		return nil
	}
	if len(unable) > 0 {
		return fmt.Errorf("app_passwords: %s cannot look users up, so nobody would say when one is gone; have it look users up, or write unchecked and disable users here", strings.Join(unable, ", "))
	}
	return errors.New("app_passwords: there is no other backend whose users these could be; a users file and sql hold the application passwords of their own users themselves; name one in the setting backends, or write unchecked")
}

// choose takes the backends that the configuration names.
func (a *AppPasswords) choose(others []caddymsa.Neighbor) error {
	for i, id := range a.Backends {
		if slices.Contains(a.Backends[:i], id) {
			return fmt.Errorf("app_passwords: backends: %s is specified twice", id)
		}
		at := slices.IndexFunc(others, func(b caddymsa.Neighbor) bool { return b.ID == id })
		if at < 0 {
			var there []string
			for _, b := range others {
				there = append(there, b.ID)
			}
			if len(there) == 0 {
				return fmt.Errorf("app_passwords: backends: there is no other backend %q, nor any; add the one that has the users", id)
			}
			return fmt.Errorf("app_passwords: backends: there is no other backend %q; the server has %s", id, conf.And(there))
		}
		l, ok := caddymsa.As[caddymsa.Lookuper](others[at].Module, caddymsa.CapLookup)
		if _, companion := others[at].Module.(caddymsa.Companion); !ok || companion {
			return fmt.Errorf("app_passwords: backends: backend %s cannot look users up; have it look users up, or write unchecked and disable users here", id)
		}
		a.directories = append(a.directories, directory{id, l})
	}
	return nil
}

// holdsThemselves tells whether users of the backend have application passwords there already.
func holdsThemselves(module any) bool {
	if _, companion := module.(caddymsa.Companion); companion {
		return true
	}
	if h, ok := module.(interface{ HoldsAppPasswords() bool }); ok {
		return h.HoldsAppPasswords()
	}
	_, keeps := module.(passwd.Keeper)
	return keeps
}

// confirm asks the directories whether the user of an application password still stands, and who it is. What the store
// says of a user, beside which application password it was, counts only where there is no directory.
func (a *AppPasswords) confirm(ctx context.Context, peer caddymsa.Peer, id caddymsa.Identity) (caddymsa.Identity, error) {
	if a.Unchecked {
		return id, nil
	}
	refused := caddymsa.ErrUnknownUser
	for _, d := range a.directories {
		who, err := d.Lookup(ctx, peer, id.User)
		switch {
		case errors.Is(err, caddymsa.ErrCredentials):
			refused = caddymsa.MoreTelling(refused, fmt.Errorf("backend %s: %w", d.id, err))
		case err != nil:
			return caddymsa.Identity{}, fmt.Errorf("looking up the user in backend %s: %w", d.id, err)
		case id.Case.Key(who.User) != id.Case.Key(id.User): // the session's next look-up here would be by the other name
			refused = fmt.Errorf("%w: backend %s calls %q %q: make application passwords for that name", caddymsa.ErrUnknownUser, d.id, id.User, who.User)
		default:
			who.AppPassword, who.Fingerprint = id.AppPassword, id.Fingerprint
			return who, nil
		}
	}
	return caddymsa.Identity{}, refused
}
