// Package adminclient is how commands reach the running server: through Caddy's admin API.
package adminclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// Admin is where the admin API is. The zero value is Caddy's default address.
type Admin struct {
	address, config, adapter string
	flag                     string // that names the address; "": --address
	flags                    *pflag.FlagSet
}

// Flags adds the flags that Caddy's own commands have.
func (a *Admin) Flags(f *pflag.FlagSet) {
	f.StringVar(&a.address, "address", "", "address of the admin API (if --config is not used)")
	a.configFlags(f)
}

func (a *Admin) configFlags(f *pflag.FlagSet) {
	a.flags = f
	f.StringVarP(&a.config, "config", "c", "", "configuration file, to take the admin API's address from")
	f.StringVar(&a.adapter, "adapter", "", "name of the config adapter to apply (if --config is used)")
}

// Get asks for a path and decodes the answer.
func (a *Admin) Get(path string, answer any) error {
	body, err := a.Open(path)
	if err != nil {
		return err
	}
	return a.decode(body, answer)
}

// ErrNoAnswer is of an admin API that takes connections, and no more.
var ErrNoAnswer = errors.New("the admin API does not answer")

// GetWithin is Get for those who do not wait for long: after that time, it is an error that there is no answer. What answer is
// then must not be looked at.
func (a *Admin) GetWithin(limit time.Duration, path string, answer any) error {
	done := make(chan error, 1)
	go func() { done <- a.Get(path, answer) }() // which nothing ends
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("%w within %s", ErrNoAnswer, limit)
	}
}

// Open asks for a path and returns the answer as it comes.
func (a *Admin) Open(path string) (io.ReadCloser, error) { return a.do(http.MethodGet, path, nil) }

// OpenPost sends a request, and returns the answer as it comes.
func (a *Admin) OpenPost(path string, request any) (io.ReadCloser, error) {
	b, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return a.do(http.MethodPost, path, b)
}

// Post sends a request, which may be nil, and decodes the answer.
func (a *Admin) Post(path string, request, answer any) error {
	body, err := a.OpenPost(path, request)
	if err != nil {
		return err
	}
	return a.decode(body, answer)
}

// do returns what the server said as the error when it refuses.
func (a *Admin) do(method, path string, body []byte) (io.ReadCloser, error) {
	resp, err := a.request(method, path, body)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (a *Admin) request(method, path string, body []byte) (*http.Response, error) {
	if err := a.noneEmpty(); err != nil {
		return nil, err
	}
	address, err := caddycmd.DetermineAdminAPIAddress(a.address, nil, a.config, a.adapter)
	if err != nil {
		return nil, fmt.Errorf("address of the admin API: %w", err)
	}
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
		header.Set(adminapi.OperatorHeader, operator())
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, header, bytes.NewReader(body))
	if err != nil {
		return nil, a.advise(address, err)
	}
	return resp, nil
}

// noneEmpty refuses an address or configuration that is given and empty: it would be another server that is asked, the one at the
// default address.
func (a *Admin) noneEmpty() error {
	if a.flags == nil {
		return nil
	}
	return NoneEmpty(a.flags, strings.TrimPrefix(a.flagName(), "--"), "config")
}

// NoneEmpty refuses flags that are given and empty, as of a shell's variable that is not set: the default would be meant.
func NoneEmpty(flags *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := flags.Lookup(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty; leave it out where the default is meant", name)
		}
	}
	return nil
}

func (a *Admin) flagName() string { return cmp.Or(a.flag, "--address") }

// operator is the user who runs this command, for the journal.
func operator() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" && by != name {
		return by + " as " + name
	}
	return name
}

// refused is what Caddy makes of an answer that is an error.
var refused = regexp.MustCompile(`^caddy responded with error: HTTP ([0-9]+): (?s:(.*))$`)

// advise says in a sentence what went wrong, and what to do about an admin API that cannot be reached. Caddy makes texts of the
// errors below.
func (a *Admin) advise(address string, err error) error {
	text := err.Error()
	if m := refused.FindStringSubmatch(text); m != nil {
		return answered(address, m[1], strings.TrimSpace(m[2]))
	}
	switch _, cause, dialed := strings.Cut(text, ": dial "); {
	case dialed && strings.Contains(text, "permission denied"):
		return fmt.Errorf("this user may not use the admin API at %s (dial %s): run the command as the user that Caddy runs as", address, cause)
	case dialed:
		return fmt.Errorf("no admin API at %s (dial %s): is Caddy running, with its admin API on? Name its address with %s, or the configuration with --config", address, cause, a.flagName())
	case strings.HasPrefix(text, "performing request: "):
		return fmt.Errorf("what answers at %s is not Caddy's admin API, or broke off: %w; name the address with %s, or the configuration with --config", address, err, a.flagName())
	}
	return err
}

// Refused is what the server said in place of an answer.
type Refused struct {
	Status int // of HTTP
	Text   string
}

func (r *Refused) Error() string { return r.Text }

// IsRefused tells whether the server said so with that status.
func IsRefused(err error, status int) bool {
	r, ok := errors.AsType[*Refused](err)
	return ok && r.Status == status
}

// answered is what the server said, which is JSON when it is the admin API's.
func answered(address, status, body string) error {
	var said struct {
		Error   string   `json:"error"`
		Reasons []string `json:"reasons"` // of /msa/health
	}
	switch {
	case json.Unmarshal([]byte(body), &said) == nil && said.Error != "":
		code, _ := strconv.Atoi(status)
		return &Refused{code, said.Error}
	case said.Error == "" && len(said.Reasons) > 0:
		code, _ := strconv.Atoi(status)
		return &Refused{code, strings.Join(said.Reasons, "; ")}
	case status == "404":
		return fmt.Errorf("what answers at %s has no mail submission server: it is not Caddy's admin API, or Caddy was built without caddy-msa", address)
	}
	return fmt.Errorf("what answers at %s is not the admin API of a Caddy with caddy-msa: HTTP %s", address, status)
}
