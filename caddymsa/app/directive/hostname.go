package directive

import (
	"cmp"
	"net"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// checkHostname explains what people write in the place of a hostname.
func checkHostname(d *caddyfile.Dispenser, hostname string) error {
	name, port, found := strings.Cut(hostname, ":")
	switch {
	case !found || strings.ContainsAny(hostname, "{}"): // a placeholder
		return nil
	case strings.Contains(hostname, "://"):
		_, name, _ = strings.Cut(hostname, "://")
		name, port, _ = strings.Cut(strings.TrimRight(name, "/"), ":")
		if port != "" {
			port = "listen :" + port
		}
		return d.Errf("msa takes a hostname, not a URL: write msa %s { %s }", name, cmp.Or(port, "..."))
	case strings.Contains(port, ":"):
		return d.Errf("msa takes a hostname, not an IP address; addresses to listen on go in the block, as in: listen %s", submissionAddress(hostname))
	case name == "":
		return d.Errf("msa takes a hostname; the port goes in the block: msa msa.example.org { listen :%s }", port)
	}
	return d.Errf("msa takes a hostname without a port; the port goes in the block: msa %s { listen :%s }", name, port)
}

// submissionAddress is an IPv6 address, in brackets or not and with a port or not, as listen has it.
func submissionAddress(ip string) string {
	host, port, err := net.SplitHostPort(ip)
	if err != nil {
		host, port = strings.Trim(ip, "[]"), "587"
	}
	return net.JoinHostPort(host, port)
}
