package sasl

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// DigestResponse is a client's answer to a DIGEST-MD5 challenge, sound in all
// but the one thing that is left to prove: that the client knows the password.
type DigestResponse struct {
	// User and Realm as the client sent them, in UTF-8. Realm is one of those
	// that were offered, or empty if none was.
	User, Realm string

	in       digestInput
	response string // 32 hexadecimal digits
	rspauth  string // set by the first match
}

// Matches reports whether the client knows the password behind ha1, which is
// MD5(user:realm:password) as DigestHA1 makes it. Any number of candidates may
// be tried. It takes the same time for all of them.
func (r *DigestResponse) Matches(ha1 [16]byte) bool {
	if !equalConstantTime(r.in.response(ha1), r.response) {
		return false
	}
	r.rspauth = r.in.rspauth(ha1)
	return true
}

// MatchesPassword reports whether the client knows password (UTF-8). What is
// not ASCII is tried both as UTF-8 and as ISO 8859-1: RFC 2831 wants the
// latter where the text fits, and clients follow that in part. So is what SASLprep
// makes of the password.
func (r *DigestResponse) MatchesPassword(password string) bool {
	matched := false
	for _, u := range encodings(r.User) {
		for _, re := range encodings(r.Realm) {
			for _, form := range PasswordForms(password) {
				for _, p := range encodings(form) {
					matched = r.Matches(ha1(u, re, p)) || matched
				}
			}
		}
	}
	return matched
}

// maxDigestResponse is the size that a response must stay below (RFC 2831
// section 2.1.2).
const maxDigestResponse = 4096

// parseDigestResponse checks all that can be checked without knowing the
// challenge.
func parseDigestResponse(b []byte) (*DigestResponse, error) {
	if len(b) >= maxDigestResponse {
		return nil, malformed("DIGEST-MD5: response too long")
	}
	fields := map[string]string{
		// Those that may come at most once; the value is replaced when one does.
		"username": absent, "realm": absent, "nonce": absent, "cnonce": absent, "nc": absent, "qop": absent,
		"digest-uri": absent, "response": absent, "charset": absent, "authzid": absent, "maxbuf": absent, "cipher": absent,
	}
	err := parseDirectives(string(b), func(name, value string) error {
		switch old, known := fields[name]; {
		case !known: // ignored (auth-param)
		case old != absent:
			return malformed("DIGEST-MD5: " + name + " twice")
		default:
			fields[name] = value
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"username", "nonce", "cnonce", "nc", "digest-uri", "response"} {
		if fields[name] == absent || fields[name] == "" {
			return nil, malformed("DIGEST-MD5: no " + name)
		}
	}
	return newDigestResponse(fields)
}

// absent marks a directive that did not come. No value can be equal to it,
// since values have no control characters.
const absent = "\x00"

func newDigestResponse(fields map[string]string) (*DigestResponse, error) {
	fail := func(detail string) (*DigestResponse, error) {
		return nil, malformed("DIGEST-MD5: " + detail)
	}
	if qop := fields["qop"]; qop != absent && !strings.EqualFold(qop, "auth") {
		return fail("qop was not offered")
	}
	if fields["nc"] != "00000001" {
		return fail("nc is not 00000001")
	}
	if !isLowerHex(fields["response"], 32) {
		return fail("response is not 32 lower-case hexadecimal digits")
	}
	realm := fields["realm"]
	if realm == absent {
		realm = ""
	}
	r := &DigestResponse{
		User: fields["username"], Realm: realm,
		in:       digestInput{nonce: fields["nonce"], cnonce: fields["cnonce"], uri: fields["digest-uri"]},
		response: fields["response"],
	}
	switch charset := fields["charset"]; {
	case charset == absent:
		r.User, r.Realm = undeclared(r.User), undeclared(r.Realm)
	case !strings.EqualFold(charset, "utf-8"):
		return fail("charset is not utf-8")
	case !utf8.ValidString(r.User) || !utf8.ValidString(r.Realm):
		return fail("user name or realm is not UTF-8")
	}
	if authzid := fields["authzid"]; authzid != absent {
		r.in.authzid = &authzid
	}
	return r, nil
}

// undeclared converts a text that came without a charset directive to UTF-8. It
// should be ISO 8859-1 (RFC 2831 section 2.1.2), but curl sends UTF-8 without
// saying so, and what is valid as that is hardly ever meant as the other.
func undeclared(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return fromLatin1(s)
}

func isLowerHex(s string, length int) bool {
	return len(s) == length && strings.Trim(s, "0123456789abcdef") == ""
}

// checkDigestURI wants smtp/<host>[/<service>] with one of hosts; without
// hosts any will do (RFC 2831 section 2.1.2, digest-uri).
func checkDigestURI(uri string, hosts []string) error {
	parts := strings.Split(uri, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return malformed("DIGEST-MD5: digest-uri is not service/host")
	}
	if !strings.EqualFold(parts[0], "smtp") {
		return refused(fmt.Sprintf("digest-uri %q is not for smtp", uri))
	}
	if len(hosts) == 0 {
		return nil
	}
	for _, host := range hosts {
		if strings.EqualFold(bareHost(host), bareHost(parts[1])) {
			return nil
		}
	}
	return refused(fmt.Sprintf("digest-uri %q names a host that is not ours", uri))
}

// bareHost takes off what some clients write around a host: the brackets of
// an IPv6 address, the dot of the root.
func bareHost(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ".")
}
