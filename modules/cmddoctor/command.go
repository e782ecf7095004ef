// Package cmddoctor is `caddy msa doctor`: it looks for what is wrong with a submission server, and says what to do about it.
package cmddoctor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/outside"
	"github.com/caddy-msa/caddy-msa/caddymsa/prompt"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

// options are the command's flags.
type options struct {
	admin          adminclient.Admin
	server         string
	remote         []string
	mode, hostname string
	ca, helo       string
	user, password string
	submit, from   string
	domains        []string
	egress         []string
	resolver       string
	timeout        time.Duration
	thorough       bool
	json, quiet    bool
	patience       time.Duration // with the admin API; 0: answerTime
}

func newCommand() *cobra.Command {
	o := new(options)
	cmd := &cobra.Command{
		Use:   "doctor [--server <name>] [--remote <host[:port]>]",
		Short: "Looks for what is wrong with a server, and says what to do about it",
		Long: `Looks at the servers that run on this machine, from outside as their clients see
them and from within: ports and whose they are, certificates, what is let through
before TLS, mechanisms and backends, the spool and its disk, the next hop of each
route, records in DNS, clock, limits, file modes, proxies. What is wrong comes with
its remedy.

With --remote it looks at any submission server, of any vendor, and needs no
configuration: the requirements R-01 to R-10 of the gateway's interface are then a
conformance test. Without a port that is 587 and 465.

It logs in only with --user, with the password from the environment variable
MSA_PASSWORD, or asked for; and submits a message only with --submit, to the address
that is named: give it a route that discards. A password goes only to a port
whose certificate is good, and after a refusal it is not tried again.

The look at a server from outside ends after --timeout: what was not looked at by then
is named, and counts as wrong, since nothing is known of it.

Exit code: 0 when nothing is wrong (warnings do not count), 1 otherwise.`,
		Example: "  caddy msa doctor\n  caddy msa doctor --user alice@example.org --submit discard@example.org\n  caddy msa doctor --remote mail.example.net:587 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if err := o.complete(cmd.InOrStdin()); err != nil {
				return err
			}
			found, err := o.examine(cmd.Context())
			if err != nil {
				return err
			}
			return o.report(cmd.OutOrStdout(), found)
		},
	}
	f := cmd.Flags()
	o.admin.Flags(f)
	f.StringVar(&o.server, "server", "", "server, by its name in the configuration (default: all)")
	f.StringArrayVar(&o.remote, "remote", nil, "look at this host, or host:port, instead of the servers of this machine")
	f.StringVar(&o.mode, "tls", "", "with --remote: starttls or implicit (default: implicit on ports 465 and 1465, else starttls)")
	f.StringVar(&o.hostname, "hostname", "", "with --remote: the name that the server is to have (default: the host)")
	f.StringVar(&o.ca, "ca", "", "file of CA certificates that clients trust (default: the system's)")
	f.StringVar(&o.helo, "helo", "", "name to give in EHLO (default: doctor.invalid)")
	f.StringVar(&o.user, "user", "", "user to log in as, with each mechanism that is offered")
	f.StringVar(&o.submit, "submit", "", "submit a message to this address, which does no harm there")
	f.StringVar(&o.from, "from", "", "sender of that message (default: the user)")
	f.StringSliceVar(&o.domains, "domain", nil, "domains that clients send as, to look at their records in DNS (default: those with a DKIM key)")
	f.StringSliceVar(&o.egress, "egress", nil, "IP addresses that mail leaves from, for SPF (default: this machine's, if they are public)")
	f.StringVar(&o.resolver, "resolver", "", "name server to ask, as host:port (default: the system's)")
	f.DurationVar(&o.timeout, "timeout", 0, "for all looks at a server from outside; what was not looked at by then is named (default 30s, with --thorough 2m)")
	f.BoolVar(&o.thorough, "thorough", false, "also test whether endless commands and lines are cut off; some servers block addresses for that")
	f.BoolVar(&o.json, "json", false, "print findings as JSON")
	f.BoolVar(&o.quiet, "quiet", false, "print only what is wrong, or may be")
	return cmd
}

// complete fills in what the flags leave open, and refuses what cannot be meant.
func (o *options) complete(stdin io.Reader) (err error) {
	switch {
	case o.mode != "" && o.mode != "starttls" && o.mode != "implicit":
		return fmt.Errorf("--tls is starttls or implicit, not %q", o.mode)
	case len(o.remote) == 0 && (o.mode != "" || o.hostname != ""):
		return errors.New("--tls and --hostname go with --remote")
	case len(o.remote) > 0 && o.server != "":
		return errors.New("--server names a server of this machine, --remote another one: give one of them")
	case o.submit != "" && o.user == "":
		return errors.New("--submit goes with --user: only those who log in may submit")
	case o.timeout < 0:
		return fmt.Errorf("--timeout is a duration such as 30s, not %s", o.timeout)
	case strings.ContainsAny(o.submit+o.from+o.helo, " \t\r\n<>"):
		return errors.New("--submit, --from and --helo are an address or a name, without spaces and brackets")
	}
	for _, ip := range o.egress {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("--egress: %q is not an IP address", ip)
		}
	}
	if o.from == "" {
		o.from = o.user
	}
	if o.user == "" {
		return nil
	}
	if o.password = os.Getenv("MSA_PASSWORD"); o.password == "" {
		o.password, err = prompt.Password(stdin, "Password: ")
	}
	return err
}

// target is what looks at a server from outside.
func (o *options) target() (*outside.Target, error) {
	t := &outside.Target{Hello: o.helo, Limit: o.timeout, Thorough: o.thorough}
	if o.user != "" {
		t.Login = &outside.Login{User: o.user, Password: o.password}
	}
	if o.submit != "" {
		t.Submit = &outside.Submit{From: o.from, To: o.submit}
	}
	var err error
	t.Roots, err = roots(o.ca)
	return t, err
}

// remoteTarget is the target of --remote.
func (o *options) remoteTarget() (*outside.Target, error) {
	t, err := o.target()
	if err != nil {
		return nil, err
	}
	t.Hostname = o.hostname
	for _, r := range o.remote {
		host, port, err := net.SplitHostPort(r)
		if err != nil {
			host = strings.Trim(r, "[]")
		}
		if host == "" || strings.ContainsAny(r, " /@") {
			return nil, fmt.Errorf("--remote: %q is not a host, or host:port (for example mail.example.net:587)", r)
		}
		if t.Hostname == "" {
			t.Hostname = host
		}
		implicit := port == "465" || port == "1465"
		if o.mode != "" {
			implicit = o.mode == "implicit"
		}
		switch {
		case port == "" && o.mode == "":
			t.StartTLS = append(t.StartTLS, net.JoinHostPort(host, "587"))
			t.Implicit = append(t.Implicit, net.JoinHostPort(host, "465"))
		case implicit:
			t.Implicit = append(t.Implicit, withPort(host, port, "465"))
		default:
			t.StartTLS = append(t.StartTLS, withPort(host, port, "587"))
		}
	}
	t.StartTLS, t.Implicit = slices.Compact(t.StartTLS), slices.Compact(t.Implicit)
	return t, nil
}

func withPort(host, port, otherwise string) string {
	if port == "" {
		port = otherwise
	}
	return net.JoinHostPort(host, port)
}
