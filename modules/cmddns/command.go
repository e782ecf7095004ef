// Package cmddns is `caddy msa dns`: the records in DNS that fit the running server.
package cmddns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

// options are the command's flags.
type options struct {
	admin                   adminclient.Admin
	server, web, policy     string
	egress                  []string
	submission, submissions int
	check                   bool
	resolver                string
	timeout                 time.Duration
}

// asListened is the port that the server listens on.
const asListened = -1

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dns <domain>",
		Short: "Prints the DNS records that fit the running server, or compares them with DNS",
		Long: `Prints, as lines of a zone file, the records that a domain needs so that mail programs
find the running server and receivers trust what it sends: SRV for submission, autoconfig
and autodiscover where a site has msa_autoconfig, TLSA, the DKIM keys in force, SPF and
MTA-STS. What is missing is named in a comment, with what to do about it. Records of
names outside the domain are comments too, since they belong in another zone.

SPF is made of the addresses that mail leaves from: those that routes bind to, and
those given with --egress, which also takes networks and terms such as
include:_spf.example.net for a next hop that others run; or else of the machine's own.
MTA-STS is made of the policy that a site of this Caddy answers with for
mta-sts.<domain>, or of --mta-sts <file>.

With --check each record is looked up and compared instead. Exit code: 0 when all
of them fit, 1 otherwise.`,
		Example: "  caddy msa dns example.org --egress 192.0.2.7\n  caddy msa dns example.org --egress 192.0.2.7 --check",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			return o.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	o.admin.Flags(f)
	f.StringVar(&o.server, "server", "", "server, by its name in the configuration (default: the only one)")
	f.StringSliceVar(&o.egress, "egress", nil, "addresses or networks that mail leaves from, as others see them, or SPF terms")
	f.IntVar(&o.submissions, "submissions-port", asListened, "port with TLS from the first byte that clients reach, if it differs from the one listened on; 0: none")
	f.IntVar(&o.submission, "submission-port", asListened, "port with STARTTLS that clients reach, if it differs from the one listened on; 0: none")
	for _, name := range []string{"submissions-port", "submission-port"} {
		f.Lookup(name).DefValue = "0" // so that help does not print asListened, which nobody should write
	}
	f.StringVar(&o.web, "web", "", "host that the web sites are reached at (default: the server's hostname)")
	f.StringVar(&o.policy, "mta-sts", "", "file of the MTA-STS policy (default: what the site for mta-sts.<domain> answers)")
	f.BoolVar(&o.check, "check", false, "compare with DNS")
	f.StringVar(&o.resolver, "resolver", "", "name server to ask, host:port (default: the system's)")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "for all look-ups together")
	return cmd
}

func (o *options) run(ctx context.Context, out io.Writer, name string) error {
	domain, err := mailaddr.ASCIIDomain(strings.TrimSuffix(name, "."))
	if err == nil {
		err = mailaddr.ValidDomain(domain, false)
	}
	if err == nil && (domain == "" || domain[0] == '[') {
		err = errors.New("it is not a domain")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	p := plan{domain: domain, web: o.web}
	if p.egress, err = parseEgress(o.egress); err != nil {
		return err
	}
	var answer adminapi.DNS
	if err := o.admin.Get("/msa/dns", &answer); err != nil {
		return err
	}
	if p.server, err = choose(answer.Servers, o.server); err != nil {
		return err
	}
	p.public = answer.Machine
	if err := p.ports(o.submissions, o.submission); err != nil {
		return err
	}
	p.sites = o.sites()
	if o.policy != "" {
		text, err := os.ReadFile(o.policy)
		if err != nil {
			return err
		}
		p.policy = string(text)
	}
	sections := p.sections()
	if !o.check {
		return writeZone(out, &p, sections)
	}
	resolver, err := dnscheck.New(o.resolver)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return check(ctx, out, resolver, sections)
}

func choose(servers []adminapi.DNSServer, name string) (adminapi.DNSServer, error) {
	var names []string
	for _, s := range servers {
		if s.Name == name || name == "" && len(servers) == 1 {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if name == "" {
		return adminapi.DNSServer{}, fmt.Errorf("there are several servers; choose one with --server: %s", strings.Join(names, ", "))
	}
	return adminapi.DNSServer{}, fmt.Errorf("there is no server %q; there are: %s", name, strings.Join(names, ", "))
}
