package authoauth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// claims are what a token, or the answer about one, says.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// list is a claim that holds one string or several.
func (c claims) list(name string) (all []string) {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// hasScope looks into scope (RFC 8693 section 4.2), and into scp, as Microsoft and others
// call it.
func (c claims) hasScope(scope string) bool {
	return slices.ContainsFunc(append(c.list("scope"), c.list("scp")...), func(s string) bool {
		return slices.Contains(strings.Fields(s), scope)
	})
}

// identity is who the claims are of.
func (o *OAuth) identity(c claims) (caddymsa.Identity, error) {
	id := caddymsa.Identity{User: c.text(o.UserClaim), Case: o.Case}
	switch {
	case id.User == "":
		return id, fmt.Errorf("the token has no claim %s", o.UserClaim)
	case len(id.User) > 255 || strings.ContainsFunc(id.User, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return id, fmt.Errorf("the claim %s is not a user name", o.UserClaim)
	}
	if verified, said := c["email_verified"]; o.UserClaim == "email" && said && verified != true && verified != "true" {
		return id, fmt.Errorf("the e-mail address %s is not verified", id.User)
	}
	if o.AddressesClaim != "" {
		for _, s := range c.list(o.AddressesClaim) {
			p, err := mailaddr.ParsePattern(s)
			if err != nil {
				return id, fmt.Errorf("the claim %s: %w", o.AddressesClaim, err)
			}
			id.Addresses = append(id.Addresses, p)
		}
	}
	for _, name := range o.AttributeClaims {
		if v, ok := c[name]; ok {
			if id.Attributes == nil {
				id.Attributes = make(map[string]string)
			}
			id.Attributes[name] = attribute(v)
		}
	}
	return id, nil
}

// attribute is a string as it is, and anything else as JSON.
func attribute(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}
