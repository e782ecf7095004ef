package mailaddr

import "strings"

// CutTag splits a plus-address, ik+x@example.org, into the address that it belongs to and its tag, x.
func (a Address) CutTag() (base Address, tag string, ok bool) {
	local, tag, ok := strings.Cut(a.Local, "+")
	if !ok || local == "" || a.Domain == "" {
		return a, "", false
	}
	return withLocal(a, local), tag, true
}

// WithTag returns the plus-address of a with a tag.
func (a Address) WithTag(tag string) Address { return withLocal(a, a.Local+"+"+tag) }

func withLocal(a Address, local string) Address {
	exact := local
	if _, n, err := dotString(local+"@", true); err != nil || n != len(local) {
		exact = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	return Address{Exact: exact + "@" + a.Domain, Local: local, Domain: a.Domain}
}
