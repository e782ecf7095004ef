package passwd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// AppPassword is one of a user's secrets for a device or a program. It is written
//
//	label;expires=2027-01-31T00:00:00Z;nets=192.0.2.0/24,local;{SCHEME}value
//
// of which expires and nets may be left out; several credentials of one secret are separated by ";".
type AppPassword struct {
	// Label tells a user's application passwords apart, without regard to case.
	Label string
	// Credentials, any of which will do.
	Credentials []Credential
	// Expires is when it ends. Zero: it does not.
	Expires time.Time
	// AllowNets and AllowLocal are where it may be used, as a User has them.
	AllowNets  []netip.Prefix
	AllowLocal bool
}

// MaxAppPasswords is the most that a user has: a wrong guess is compared with all of them.
const MaxAppPasswords = 50

var labels = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckLabel says why nothing can have the label.
func CheckLabel(label string) error {
	if !labels.MatchString(label) {
		return errors.New("a label has 1 to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or a digit")
	}
	return nil
}

// ErrAppExpired and ErrAppNetwork are of a right application password that may not be used any more, or not from there.
var (
	ErrAppExpired = errors.New("the application password has expired")
	ErrAppNetwork = errors.New("the application password may not be used from this address")
)

// NewSecret returns a secret to give away: 130 random bits as letters and digits.
func NewSecret() string { return strings.ToLower(rand.Text()) }

// FormatAppPassword writes an application password; credentials are of Generate.
func FormatAppPassword(label string, expires time.Time, nets, credentials []string) string {
	parts := []string{label}
	if !expires.IsZero() {
		parts = append(parts, "expires="+expires.UTC().Format(time.RFC3339))
	}
	if len(nets) > 0 {
		parts = append(parts, "nets="+strings.Join(nets, ","))
	}
	return strings.Join(append(parts, credentials...), ";")
}

// AddAppPassword adds one, as it is written. Errors repeat no secret.
func (u *User) AddAppPassword(text string) error {
	head, stored, _ := strings.Cut(text, ";{")
	var a AppPassword
	var options []string
	for i, part := range strings.Split(head, ";") {
		if i == 0 {
			a.Label = part
		} else {
			options = append(options, part)
		}
	}
	if err := CheckLabel(a.Label); err != nil {
		return fmt.Errorf("app_password: %w", err)
	}
	err := a.parse(u.Name, options, stored)
	if errors.As(err, new(errUnsupported)) {
		u.Problem = fmt.Errorf("app_password %s: %w", a.Label, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("app_password %s: %w", a.Label, err)
	}
	return u.addApp(a)
}

func (u *User) addApp(a AppPassword) error {
	switch {
	case u.appNamed(a.Label) != nil:
		return fmt.Errorf("app_password %s is specified twice; labels compare without regard to case", a.Label)
	case len(u.Apps) == MaxAppPasswords:
		return fmt.Errorf("more than %d application passwords", MaxAppPasswords)
	}
	u.Apps = append(u.Apps, a)
	if u.barred {
		u.Disabled, u.barred = false, false
	}
	return nil
}

func (a *AppPassword) parse(user string, options []string, stored string) (err error) {
	for _, option := range options {
		key, value, hasValue := strings.Cut(option, "=")
		switch key {
		case "expires":
			if a.Expires, err = ParseExpiry(value); err != nil {
				return err
			}
		case "nets":
			var of User
			if err := of.parseNets(value); err != nil {
				return fmt.Errorf("nets: %w", err)
			}
			a.AllowNets, a.AllowLocal = of.AllowNets, of.AllowLocal
		default:
			return unknownOption(key, hasValue)
		}
	}
	if stored == "" {
		return errors.New("no password; an application password is written label;{SCHEME}value")
	}
	for s := range strings.SplitSeq(stored, ";{") {
		c, err := parseCredential(user, "{"+s)
		if err != nil {
			return err
		}
		a.Credentials = append(a.Credentials, c)
	}
	return nil
}

// ParseExpiry reads a time, or a day, which counts from its beginning in UTC.
func ParseExpiry(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly, time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("expires: %q is not a time; write 2027-01-31 or 2027-01-31T12:00:00Z", text)
}

// Expired reports whether it may not be used any more.
func (a *AppPassword) Expired() bool { return !a.Expires.IsZero() && !time.Now().Before(a.Expires) }

// AllowedFrom reports whether it may be used from ip; the zero Addr is a unix socket.
func (a *AppPassword) AllowedFrom(ip netip.Addr) bool {
	return (&User{AllowNets: a.AllowNets, AllowLocal: a.AllowLocal}).AllowedFrom(ip)
}

// refused says why a right application password is refused.
func (a *AppPassword) refused(from netip.Addr) error {
	switch {
	case a.Expired():
		return ErrAppExpired
	case !a.AllowedFrom(from):
		return ErrAppNetwork
	}
	return nil
}

// String returns the label and the schemes.
func (a AppPassword) String() string {
	s := a.Label
	for _, c := range a.Credentials {
		s += ";" + c.String()
	}
	return s
}

// App is the application password that a user has logged in with, or nil.
func (u *User) App() *AppPassword { return u.app }

func (u *User) appNamed(label string) *AppPassword {
	i := slices.IndexFunc(u.Apps, func(a AppPassword) bool { return names.Fold(a.Label) == names.Fold(label) })
	if i < 0 {
		return nil
	}
	return &u.Apps[i]
}

// With returns the user as it is with one of its application passwords alone, or nil if there is none of that label.
func (u *User) With(label string) *User {
	if u == nil {
		return nil
	}
	if a := u.appNamed(label); a != nil {
		return u.with(a)
	}
	return nil
}

func (u *User) with(a *AppPassword) *User {
	v := *u
	v.Credentials, v.Apps, v.app, v.base = a.Credentials, nil, a, u
	return &v
}

// SplitLabel cuts the name that a user logs in with to use one application password: name+label. ok is false if it is no such name.
func SplitLabel(name string) (user, label string, ok bool) {
	i := strings.LastIndexByte(name, '+')
	if i <= 0 || CheckLabel(name[i+1:]) != nil {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// all are the credentials that a guess is compared with.
func (u *User) all() []Credential {
	if u.base != nil {
		u = u.base
	}
	if len(u.Apps) == 0 {
		return u.Credentials
	}
	all := slices.Clone(u.Credentials)
	for i := range u.Apps {
		all = append(all, u.Apps[i].Credentials...)
	}
	return all
}
