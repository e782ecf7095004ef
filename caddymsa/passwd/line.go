package passwd

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// MaxLine is the longest line of a users file in octets.
const MaxLine = 65536

// ParseLine parses one line without its line end. Blank lines and comments are
// errors here; Parse skips them. Errors say what to do about it, and repeat no
// secret.
func ParseLine(line string) (User, error) {
	if len(line) > MaxLine {
		return User{}, fmt.Errorf("longer than %d octets", MaxLine)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' || r == '\u2028' || r == '\u2029' }) {
		return User{}, errors.New("control character in the line")
	}
	fields := strings.SplitN(line, ":", 8)
	u := User{Name: fields[0]}
	if err := checkName(u.Name); err != nil {
		return User{}, err
	}
	if err := checkWritten(u.Name); err != nil {
		return User{}, err
	}
	if len(fields) == 1 { // the name may have the password in it, and is not repeated
		return User{}, errors.New(`no ":" after the user name; a line is name:{SCHEME}password`)
	}
	if err := checkPlaces(fields); err != nil {
		return User{}, fmt.Errorf("user %q: %w", u.Name, err)
	}
	if err := u.parsePassword(fields[1]); err != nil {
		return User{}, fmt.Errorf("user %q: %w", u.Name, err)
	}
	if len(fields) == 8 {
		if err := u.parseExtra(fields[7]); err != nil {
			return User{}, fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	return u, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a user name is required")
	case !utf8.ValidString(name):
		return errors.New("user name is not UTF-8")
	case strings.TrimSpace(name) != name:
		return errors.New("white space around the user name")
	case len(name) > 255:
		return errors.New("user name is longer than 255 octets")
	}
	return nil
}

// checkWritten finds in a name what nobody means to write: such a user would log in, since SASLprep takes it away, and
// have none of the name's rights.
func checkWritten(name string) error {
	if r, _ := utf8.DecodeRuneInString(name); unicode.In(r, unicode.Pi, unicode.Pf) {
		return fmt.Errorf("typographic quotation mark (%U) before the user name; names are written without quotes", r)
	}
	for _, r := range name {
		if joiner := r == '\u200c' || r == '\u200d'; !joiner && unicode.Is(unicode.Cf, r) { // those are a part of some scripts' spelling
			return fmt.Errorf("invisible character (%U) in the user name; delete it", r)
		}
	}
	return nil
}

func (u *User) parsePassword(field string) error {
	if field == "" {
		return nil
	}
	if field[0] == '!' || field[0] == '*' { // locked, as in /etc/shadow
		u.Disabled = true
		return nil
	}
	for _, s := range splitCredentials(field) {
		c, err := parseCredential(u.Name, legacy(s))
		if errors.As(err, new(errUnsupported)) {
			u.Problem = err
			continue
		}
		if err != nil {
			return err
		}
		u.Credentials = append(u.Credentials, c)
	}
	switch usable := len(u.Credentials) > 0; {
	case usable && u.barred: // by a value before this one
		u.Disabled, u.barred = false, false
	case !usable && u.Problem != nil && !u.Disabled:
		u.Disabled, u.barred = true, true
	}
	return nil
}

// splitCredentials cuts the field before each " {" that a scheme follows.
func splitCredentials(field string) (list []string) {
	start := 0
	for i := 0; i < len(field); i++ {
		if strings.HasPrefix(field[i:], " {") && isScheme(field[i+1:]) {
			list = append(list, field[start:i])
			start = i + 1
		}
	}
	return append(list, field[start:])
}

// isScheme tells whether s begins with a scheme in braces.
func isScheme(s string) bool {
	name, _, ok := strings.Cut(s[1:], "}")
	return ok && name != "" && (name[0] >= 'A' && name[0] <= 'Z' || name[0] >= 'a' && name[0] <= 'z') &&
		!strings.Contains(name, "{")
}

// legacy turns "value[type]", which Dovecot reads for the sake of pam_pwdfile,
// into a scheme.
func legacy(s string) string {
	open := strings.LastIndexByte(s, '[')
	if open < 0 || s[0] == '{' || s[len(s)-1] != ']' {
		return s
	}
	kind, err := strconv.Atoi(s[open+1 : len(s)-1])
	switch {
	case err != nil:
		return s
	case kind == 34:
		return "{PLAIN-MD5}" + s[:open]
	case kind == 56:
		return "{DIGEST-MD5}" + s[:open]
	}
	return "{CRYPT}" + s[:open]
}

// refused are extra fields that change who may log in, each with what to do.
var refused = map[string]string{
	"nopassword":      "any password would do; give the user one",
	"proxy":           "users are not proxied; delete the field",
	"proxy_maybe":     "users are not proxied; delete the field",
	"user":            "names are not changed at login; write the line for that name",
	"username":        "names are not changed at login; write the line for that name",
	"domain":          "names are not changed at login; write the line for that name",
	"login_user":      "nobody logs in for another; write a line for each user",
	"master_user":     "nobody logs in for another; write a line for each user",
	"password":        "the password belongs in the second field",
	"noauthenticate":  "every user is authenticated; to disable one write nologin",
	"allow_real_nets": "write allow_nets",
}

// parseExtra parses the extra fields.
func (u *User) parseExtra(field string) error {
	for f := range strings.FieldsSeq(field) {
		key, value, hasValue := strings.Cut(f, "=")
		if strings.HasSuffix(key, ":remove") {
			continue
		}
		key = strings.TrimSuffix(key, ":protected")
		if remedy, ok := refused[key]; ok {
			return fmt.Errorf("%s is not supported: %s", key, remedy)
		}
		if err := checkExtra(f, key, hasValue); err != nil {
			return err
		}
		if name, ok := strings.CutPrefix(key, attributePrefix); ok {
			if err := u.addAttribute(name, value); err != nil {
				return err
			}
			continue
		}
		switch key {
		case "nologin", "fail": // whatever the value, as in Dovecot
			u.Disabled = true
		case "allow_nets":
			if err := u.parseNets(value); err != nil {
				return fmt.Errorf("allow_nets: %w", err)
			}
		case "app_password":
			if err := u.AddAppPassword(value); err != nil {
				return err
			}
		case "addresses":
			if !hasValue || value == "" {
				return errors.New("addresses: empty; write addresses=a@example.org,@example.net")
			}
			for s := range strings.SplitSeq(value, ",") {
				if s == "" {
					return errors.New("addresses: a comma with nothing beside it; they are separated by commas without spaces")
				}
				p, err := mailaddr.ParsePattern(s)
				if err != nil {
					return fmt.Errorf("addresses: %w", err)
				}
				u.Addresses = append(u.Addresses, p)
			}
		}
	}
	return nil
}

// attributePrefix is what extra fields that are attributes begin with.
const attributePrefix = "attr_"

func (u *User) addAttribute(name, value string) error {
	if name == "" || value == "" {
		return fmt.Errorf("%s%s: a name and a value are required, as in attr_per_hour=100", attributePrefix, name)
	}
	if _, twice := u.Attributes[name]; twice {
		return fmt.Errorf("%s%s is specified twice", attributePrefix, name)
	}
	if u.Attributes == nil {
		u.Attributes = make(map[string]string)
	}
	u.Attributes[name] = value
	return nil
}

func (u *User) parseNets(value string) error {
	for s := range strings.SplitSeq(value, ",") {
		if s == "local" {
			u.AllowLocal = true
			continue
		}
		net, err := netip.ParsePrefix(s)
		if err != nil {
			addr, addrErr := netip.ParseAddr(s)
			if addrErr != nil || addr.Zone() != "" {
				return fmt.Errorf("%q is not a network; write it as 192.0.2.0/24, 2001:db8::1 or local", s)
			}
			net = netip.PrefixFrom(addr, addr.BitLen())
		}
		if a := net.Addr(); a.Is4In6() && net.Bits() >= 96 {
			net = netip.PrefixFrom(a.Unmap(), net.Bits()-96)
		}
		u.AllowNets = append(u.AllowNets, net.Masked())
	}
	return nil
}
