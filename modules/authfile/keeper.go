package authfile

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

// Users implements passwd.Keeper.
func (f *File) Users(_ context.Context, after string, limit int) (all []passwd.Summary, err error) {
	var users []*passwd.User
	for u := range f.file.Load().All() {
		if u.Name > after {
			users = append(users, u)
		}
	}
	slices.SortFunc(users, func(a, b *passwd.User) int { return strings.Compare(a.Name, b.Name) })
	for _, u := range users[:min(limit, len(users))] {
		all = append(all, u.Summary())
	}
	return all, nil
}

// User implements passwd.Keeper.
func (f *File) User(_ context.Context, name string) (passwd.Summary, error) {
	u := f.file.Load().Lookup(name)
	if u == nil {
		return passwd.Summary{}, caddymsa.ErrUnknownUser
	}
	return u.Summary(), nil
}

// ChangeUser implements passwd.Keeper. The file is changed, which Caddy's user must be allowed to, and read again.
func (f *File) ChangeUser(ctx context.Context, name string, change passwd.Change) (note string, err error) {
	note, err = usersfile.Change(f.path, f.Case, name, change)
	if errors.Is(err, usersfile.ErrUnknown) {
		return "", caddymsa.ErrUnknownUser
	}
	if err != nil {
		return "", err
	}
	return note, f.Reload(ctx)
}

// Interface guard
var _ passwd.Keeper = (*File)(nil)
