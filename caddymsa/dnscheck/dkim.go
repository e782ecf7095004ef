package dnscheck

import (
	"encoding/base64"
	"slices"
	"strings"
)

// DKIMKey reads a DKIM record (RFC 6376 section 3.6.1) and returns its key's type and the key; an empty key is one that was revoked.
// A record that is of no use for mail signed with SHA-256, which is all that signers of today do, is none.
func DKIMKey(record string) (kind, key string, ok bool) {
	kind = "rsa"
	for i, tag := range strings.Split(record, ";") {
		name, value, found := strings.Cut(tag, "=")
		name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), "")
		switch {
		case !found && name == "":
		case !found, name == "v" && (i > 0 || value != "DKIM1"):
			return "", "", false
		case name == "h" && !oneOf(value, "sha256"), name == "s" && !oneOf(value, "*", "email"):
			return "", "", false
		case name == "k":
			kind = strings.ToLower(value)
		case name == "p":
			if _, err := base64.StdEncoding.DecodeString(value); err != nil {
				return "", "", false
			}
			key, ok = value, true
		}
	}
	return kind, key, ok
}

// oneOf tells whether a list with colons has one of the words.
func oneOf(list string, words ...string) bool {
	return slices.ContainsFunc(strings.Split(list, ":"), func(s string) bool { return slices.Contains(words, strings.ToLower(s)) })
}
