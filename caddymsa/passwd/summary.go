package passwd

import (
	"net/netip"
	"time"
)

// Summary is what an operator is shown of a user: no secret, and no hash of one.
type Summary struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled,omitempty"`
	// Problem is why something that is stored is of no use.
	Problem string `json:"problem,omitempty"`
	// Schemes of the stored credentials.
	Schemes      []string          `json:"schemes,omitempty"`
	Addresses    []string          `json:"addresses,omitempty"`
	AllowNets    []string          `json:"allow_nets,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	AppPasswords []AppSummary      `json:"app_passwords,omitempty"`
}

// AppSummary is what is shown of an application password.
type AppSummary struct {
	Label     string    `json:"label"`
	Schemes   []string  `json:"schemes,omitempty"`
	AllowNets []string  `json:"allow_nets,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Expired   bool      `json:"expired,omitempty"`
	// LastUsed is when a message was last accepted with it, as far as the journal goes back.
	LastUsed time.Time `json:"last_used,omitzero"`
}

// Summary returns what may be shown.
func (u *User) Summary() Summary {
	s := Summary{Name: u.Name, Disabled: u.Disabled, Schemes: schemesOf(u.Credentials), AllowNets: nets(u.AllowNets, u.AllowLocal), Attributes: u.Attributes}
	if u.Problem != nil {
		s.Problem = u.Problem.Error()
	}
	for _, a := range u.Addresses {
		s.Addresses = append(s.Addresses, a.String())
	}
	for i := range u.Apps {
		a := &u.Apps[i]
		s.AppPasswords = append(s.AppPasswords, AppSummary{Label: a.Label, Schemes: schemesOf(a.Credentials), AllowNets: nets(a.AllowNets, a.AllowLocal), Expires: a.Expires, Expired: a.Expired()})
	}
	return s
}

func schemesOf(all []Credential) (schemes []string) {
	for _, c := range all {
		schemes = append(schemes, c.Scheme())
	}
	return schemes
}

func nets(all []netip.Prefix, local bool) (texts []string) {
	for _, n := range all {
		texts = append(texts, n.String())
	}
	if local {
		texts = append(texts, "local")
	}
	return texts
}
