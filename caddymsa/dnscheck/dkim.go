package dnscheck

import (
	"encoding/base64"
	"strings"
)

// DKIMKey reads a DKIM record (RFC 6376 section 3.6.1) and returns its key's type and the key; an empty key is one that was revoked.
func DKIMKey(record string) (kind, key string, ok bool) {
	kind = "rsa"
	for i, tag := range strings.Split(record, ";") {
		name, value, found := strings.Cut(tag, "=")
		name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), "")
		switch {
		case !found && name == "":
		case !found, name == "v" && (i > 0 || value != "DKIM1"):
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
