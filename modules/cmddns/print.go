package cmddns

import (
	"fmt"
	"io"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// writeZone writes the lines of a zone file.
func writeZone(out io.Writer, p *plan, sections []section) error {
	zone := dns.CanonicalName(p.domain)
	var b strings.Builder
	fmt.Fprintf(&b, "; %s, for the msa server %s as it is running\n", p.domain, terminal.Line(p.server.Name))
	for _, s := range sections {
		fmt.Fprintf(&b, "\n; %s\n", s.about)
		for _, n := range s.notes {
			fmt.Fprintf(&b, "; %s\n", terminal.Line(n))
		}
		for _, r := range s.records {
			if !dns.IsSubDomain(zone, r.Header().Name) {
				fmt.Fprintf(&b, "; in another zone: %s\n", r)
				continue
			}
			fmt.Fprintln(&b, r)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
