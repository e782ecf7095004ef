package cmduser

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

// place is where users are: in a file, or in a backend of the running server.
type place struct {
	admin           adminclient.Admin
	file            string
	caseExact       bool
	server, backend string
	set             *pflag.FlagSet
}

func (p *place) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	p.set = f
	f.StringVar(&p.file, "file", "", "users file to work on, instead of asking the running server")
	f.BoolVar(&p.caseExact, "case-exact", false, "with --file: names differ by case, as the server's setting case exact allows")
	f.StringVar(&p.server, "server", "", "server, by its name in the configuration (default: any)")
	f.StringVar(&p.backend, "backend", "", "backend of that server, such as file or sql (default: any; of several that have the user, the first)")
	p.admin.Flags(f)
}

// check refuses a place that is given and empty: it would be another one.
func (p *place) check() error { return adminclient.NoneEmpty(p.set, "file", "server", "backend") }

func (p *place) fold() names.Case {
	if p.caseExact {
		return names.Exact
	}
	return names.Folded
}

// table reads the file.
func (p *place) table() (*passwd.Table, error) {
	f, err := os.Open(p.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", p.file)
	}
	table, err := passwd.Parse(f, p.fold())
	if err != nil {
		return nil, fmt.Errorf("%s, %w", p.file, err)
	}
	return table, nil
}

// hasApps tells whether a user of the file has application passwords.
func (p *place) hasApps(name string) bool {
	table, err := p.table()
	if err != nil {
		return false
	}
	u := table.Lookup(name)
	return u != nil && len(u.Apps) > 0
}

func (p *place) query(more url.Values) string {
	q := maps.Clone(more)
	if q == nil {
		q = url.Values{}
	}
	for name, value := range map[string]string{"server": p.server, "backend": p.backend} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// change makes a change in the file, or asks the server to.
func (p *place) change(action string, q *adminapi.UserRequest, change passwd.Change) (*adminapi.UserChanged, error) {
	if err := errors.Join(p.check(), named(q.User)); err != nil {
		return nil, err
	}
	if p.file == "" {
		q.Server, q.Backend = p.server, p.backend
		answer := new(adminapi.UserChanged)
		return answer, p.admin.Post("/msa/user-actions/"+action, q, answer)
	}
	name := usersfile.SpelledIn(p.file, q.User, p.fold())
	answer := &adminapi.UserChanged{User: name, Label: q.Label}
	if action == addApp {
		var err error
		if change.AddApp, answer.Secret, err = passwd.MakeApp(name, q.Label, q.Expires, q.AllowNets, q.Schemes); err != nil {
			return nil, err
		}
	}
	var err error
	if answer.Note, err = usersfile.Change(p.file, p.fold(), name, change); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return answer, nil
}

// named refuses an empty name, which the admin API would take for all users.
func named(user string) error {
	if strings.TrimSpace(user) == "" {
		return errors.New("the user's name is empty; \"caddy msa user list\" has them")
	}
	return nil
}
