package httpautoconfig

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// account is what mail programs are told, each in its own format.
type account struct {
	hostname   string // of the msa server
	domain     string // A-labels
	name       string
	incoming   []server // the preferred one first
	outgoing   []server
	mechanisms []string
}

// account asks the server in charge at this moment.
func (h *Handler) account(w http.ResponseWriter, asciiDomain string) (*account, error) {
	srv, ok := running.Server[running.Described](h.Server)
	if !ok { // before its Start, or in a configuration without it that is about to be stopped
		w.Header().Set("Retry-After", "5")
		return nil, caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the mail submission server is not running"))
	}
	d := srv.Describe()
	a := &account{hostname: d.Hostname, domain: asciiDomain, name: cmp.Or(h.DisplayName, asciiDomain), mechanisms: d.Mechanisms}
	for _, s := range slices.Concat(h.IMAP, h.POP3) {
		a.incoming = append(a.incoming, s.server)
	}
	for _, s := range h.SMTP {
		a.outgoing = append(a.outgoing, s.server)
	}
	if len(h.SMTP) == 0 {
		for _, l := range d.Listeners.Reachable() {
			a.outgoing = append(a.outgoing, server{protocol: smtp, host: d.Hostname, port: l.Address.Port(), implicit: l.ImplicitTLS})
		}
	}
	if len(a.outgoing) == 0 {
		h.warn("the server listens on no TCP port, so that mail programs are told nothing; add smtp to say where they reach it")
		return nil, errNoWord
	}
	return a, nil
}

// passwords tells whether a password as it is logs in: what PLAIN and LOGIN send.
func (a *account) passwords() bool {
	return a.offers(sasl.Plain) || a.offers(sasl.Login)
}

func (a *account) offers(mechanism string) bool { return slices.Contains(a.mechanisms, mechanism) }

// login is what the user logs in with.
func (h *Handler) login(a mailaddr.Address) string {
	if h.Username == "local_part" {
		return a.Local
	}
	return a.String()
}
