package cmddns

import (
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// site is a handler of a web site, and the hosts that reach it: those that all of the routes around it have. None: every host
// does.
type site struct {
	hosts   [][]string
	handler map[string]any
}

// sites are those of the running configuration that DNS has to do with. Who may not see the configuration, or has
// no sites, goes without.
func (o *options) sites() (all []site) {
	var servers map[string]any
	if o.admin.Get("/config/apps/http/servers", &servers) == nil {
		walk(servers, nil, &all)
	}
	return all
}

// walk finds handlers anywhere in the configuration of the http app, which nests routes.
func walk(v any, hosts [][]string, all *[]site) {
	switch v := v.(type) {
	case []any:
		for _, each := range v {
			walk(each, hosts, all)
		}
	case map[string]any:
		if matchers, ok := v["match"].([]any); ok { // a route
			if own := hostsOf(matchers); len(own) > 0 {
				hosts = append(slices.Clone(hosts), own)
			}
		}
		if name, ok := v["handler"].(string); ok && (name == "msa_autoconfig" || name == "static_response") {
			*all = append(*all, site{hosts, v})
		}
		for _, each := range v {
			walk(each, hosts, all)
		}
	}
}

func hostsOf(matchers []any) (hosts []string) {
	for _, m := range matchers {
		if m, ok := m.(map[string]any); ok {
			hosts = append(hosts, texts(m["host"])...)
		}
	}
	return hosts
}

func texts(v any) (all []string) {
	list, _ := v.([]any)
	for _, each := range list {
		if s, ok := each.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// reachedBy tells whether the site is asked under a name, which is in A-labels.
func (s site) reachedBy(host string) bool {
	return !slices.ContainsFunc(s.hosts, func(hosts []string) bool {
		return !slices.ContainsFunc(hosts, func(h string) bool { return matches(h, host) })
	})
}

func matches(pattern, host string) bool {
	name, wild := strings.CutPrefix(pattern, "*.")
	ascii, err := mailaddr.ASCIIDomain(name)
	if wild {
		ascii = "*." + ascii
	}
	return err == nil && certmagic.MatchWildcard(host, ascii)
}

// hasAutoconfig tells whether a site answers mail programs for the domain at the host.
func (p *plan) hasAutoconfig(host string) bool {
	return slices.ContainsFunc(p.sites, func(s site) bool {
		return s.handler["handler"] == "msa_autoconfig" && s.handler["server"] == p.server.Name && s.reachedBy(host) &&
			slices.ContainsFunc(texts(s.handler["domains"]), func(d string) bool {
				pattern, err := mailaddr.ParseDomainPattern(d)
				return err == nil && pattern.Match(p.domain)
			})
	})
}

// sitePolicy is the MTA-STS policy that a site answers with.
func (p *plan) sitePolicy() string {
	for _, s := range p.sites {
		body, _ := s.handler["body"].(string)
		if len(s.hosts) > 0 && s.reachedBy("mta-sts."+p.domain) && strings.HasPrefix(body, "version: STSv1") {
			return body
		}
	}
	return ""
}
