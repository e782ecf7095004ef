package authapppassword

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// Users implements passwd.Keeper: those who have application passwords.
func (a *AppPasswords) Users(ctx context.Context, after string, limit int) ([]passwd.Summary, error) {
	return a.store.Users(ctx, after, limit)
}

// User implements passwd.Keeper.
func (a *AppPasswords) User(ctx context.Context, name string) (passwd.Summary, error) {
	return a.store.User(ctx, name)
}

// Knows implements passwd.AppKeeper.
func (a *AppPasswords) Knows(ctx context.Context, name string) (spelled string, err error) {
	if u, err := a.store.User(ctx, name); err == nil || !errors.Is(err, caddymsa.ErrUnknownUser) {
		return u.Name, err
	}
	from := caddymsa.Peer{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Session: "user"}
	for _, d := range a.directories {
		switch who, err := d.Lookup(ctx, from, name); {
		case err == nil:
			return who.User, nil
		case errors.Is(err, caddymsa.ErrNotFromThere):
			return name, nil
		case !errors.Is(err, caddymsa.ErrCredentials):
			return "", fmt.Errorf("backend %s: %w", d.id, err)
		}
	}
	return "", caddymsa.ErrUnknownUser
}

// ChangeUser implements passwd.Keeper. Who lives elsewhere is disabled there.
func (a *AppPasswords) ChangeUser(ctx context.Context, name string, change passwd.Change) (note string, err error) {
	if (change.Disable || change.Enable) && !a.Unchecked {
		return "", fmt.Errorf("%w: the user is one of %s, and disabled and enabled there; application passwords alone are here", caddymsa.ErrNotChangeable, a.whose())
	}
	note, err = a.store.ChangeUser(ctx, name, change)
	if err == nil && change.Delete && !a.Unchecked {
		note = "the application passwords are gone; the user itself is one of " + a.whose()
	}
	return note, err
}

func (a *AppPasswords) whose() string {
	var ids []string
	for _, d := range a.directories {
		ids = append(ids, d.id)
	}
	return strings.Join(ids, ", ")
}

// Examine implements caddymsa.Examiner: what holds the application passwords is looked at, the directories are by
// themselves.
func (a *AppPasswords) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	if e, ok := a.store.(caddymsa.Examiner); ok {
		return e.Examine(ctx, x)
	}
	n := doctor.About("backends", x.Subject)
	if _, err := a.store.Users(ctx, "", 1); err != nil {
		n.Wrong("start the database, or correct its settings: until then clients get 454 4.7.0", "the application passwords cannot be read: %v", err)
	} else {
		n.OK("it answers")
	}
	return n.Findings
}

// Interface guards
var (
	_ passwd.AppKeeper  = (*AppPasswords)(nil)
	_ caddymsa.Examiner = (*AppPasswords)(nil)
)
