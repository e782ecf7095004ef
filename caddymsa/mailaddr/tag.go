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
	return Address{Exact: Quoted(local) + "@" + a.Domain, Local: local, Domain: a.Domain}
}

// Quoted is a local part as it is written, in quotes if it needs them.
func Quoted(local string) string {
	if _, n, err := dotString(local+"@", true); err == nil && n == len(local) {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}
