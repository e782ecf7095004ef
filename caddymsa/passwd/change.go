package passwd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Change is one change of a user, of which only one field is set, but for New.
type Change struct {
	Disable, Enable, Delete bool
	// Rename gives the user another name.
	Rename string
	// AddApp adds an application password.
	AddApp *NewApp
	// New has AddApp make the user, if there is none: one who lives elsewhere.
	New bool
	// RevokeApp takes the one of that label away.
	RevokeApp string
}

// NewApp is an application password to be added. Its credentials are of Generate, for the user's name.
type NewApp struct {
	Label       string
	Expires     time.Time
	Nets        []string
	Credentials []string
}

// Text is how it is written.
func (a *NewApp) Text() string { return FormatAppPassword(a.Label, a.Expires, a.Nets, a.Credentials) }

// ErrNoApp is of a label that the user has no application password of.
var ErrNoApp = errors.New("the user has no application password of that label")

// ErrRefused says that a change cannot be made, and why in the error that wraps it.
var ErrRefused = errors.New("the user is not changed")

// ApplyLine makes the change in a line of a users file: all that it does not concern stays, octet for octet. A note says
// what the operator has to know. Delete is for the caller.
func (c *Change) ApplyLine(line string) (edited, note string, err error) {
	u, err := ParseLine(line)
	if err != nil {
		return "", "", fmt.Errorf("the line that is there: %w", err)
	}
	fields := strings.SplitN(line, ":", 8)
	for len(fields) < 8 {
		fields = append(fields, "")
	}
	extra := fields[7]
	switch {
	case c.Disable:
		if hasWord(extra, "nologin") {
			return line, "", nil
		}
		extra = addWord(extra, "nologin")
	case c.Enable:
		if p := fields[1]; p != "" && (p[0] == '!' || p[0] == '*') {
			return "", "", fmt.Errorf("%w: the password is locked by %q; give the user another one with: caddy msa user", ErrRefused, p[:1])
		}
		extra = dropWords(extra, func(key, _ string) bool { return key == "nologin" || key == "fail" })
	case c.Rename != "":
		if err := CheckLineName(c.Rename); err != nil {
			return "", "", err
		}
		fields[0] = c.Rename
		fields[1], extra, note = dropDigests(fields[1], extra)
	case c.AddApp != nil:
		if err := u.CheckNewApp(c.AddApp.Label); err != nil {
			return "", "", err
		}
		extra = addWord(extra, "app_password="+c.AddApp.Text())
	case c.RevokeApp != "":
		kept := dropWords(extra, func(key, value string) bool {
			label, _, _ := strings.Cut(value, ";")
			return key == "app_password" && names.Fold(label) == names.Fold(c.RevokeApp)
		})
		if kept == extra {
			return "", "", ErrNoApp
		}
		extra = kept
	}
	fields[7] = extra
	edited = strings.TrimRight(strings.Join(fields, ":"), ":")
	if !strings.Contains(edited, ":") {
		edited += ":"
	}
	if _, err := ParseLine(edited); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return edited, note, nil
}

// CheckNewApp says, in an ErrRefused, that the user has an application password of that label.
func (u *User) CheckNewApp(label string) error {
	if a := u.appNamed(label); a != nil {
		return fmt.Errorf("%w: there is an application password %s already; choose another label, or revoke that one first", ErrRefused, a.Label)
	}
	return nil
}

// CheckLineName says why no line of a users file can begin with the name, in an ErrRefused.
func CheckLineName(name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := checkWritten(name); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if strings.ContainsAny(name, ":") || strings.HasPrefix(name, "#") {
		return fmt.Errorf(`%w: a user name in a users file contains no ":" and does not begin with "#"`, ErrRefused)
	}
	return nil
}

// dropDigests leaves out what was hashed with the user's name, and says what is gone with it.
func dropDigests(password, extra string) (_, _, note string) {
	isDigest := func(s string) bool { return strings.HasPrefix(upper(s), "{DIGEST-MD5") }
	dropped := false
	if password != "" {
		kept := slices.DeleteFunc(splitCredentials(password), isDigest)
		if joined := strings.Join(kept, " "); joined != password {
			password, dropped = joined, true
		}
	}
	var words, gone []string
	for word := range strings.FieldsSeq(extra) {
		head, stored, isApp := strings.Cut(word, ";{")
		if isApp && strings.HasPrefix(word, "app_password=") {
			kept := slices.DeleteFunc(strings.Split("{"+stored, ";{"), func(s string) bool { return isDigest("{" + strings.TrimPrefix(s, "{")) })
			if len(kept) == 0 {
				label, _, _ := strings.Cut(strings.TrimPrefix(head, "app_password="), ";")
				gone, dropped = append(gone, label), true
				continue
			}
			for i := range kept {
				kept[i] = "{" + strings.TrimPrefix(kept[i], "{")
			}
			if now := head + ";" + strings.Join(kept, ";"); now != word {
				word, dropped = now, true
			}
		}
		words = append(words, word)
	}
	if !dropped {
		return password, extra, ""
	}
	note = digestsGone
	if len(gone) > 0 {
		note += "; application passwords that had nothing else are gone with it: " + strings.Join(gone, ", ")
	}
	return password, strings.Join(words, " "), note
}

// digestsGone is the note of a change that leaves what is stored for DIGEST-MD5 behind.
const digestsGone = "what was stored for DIGEST-MD5 was hashed with the old name and is gone; give the user another password with: caddy msa user"

func hasWord(extra, word string) bool { return slices.Contains(strings.Fields(extra), word) }

func addWord(extra, word string) string {
	if strings.TrimSpace(extra) == "" {
		return word
	}
	return strings.TrimRight(extra, " \t") + " " + word
}

// dropWords takes words out, each with the white space before it.
func dropWords(extra string, drop func(key, value string) bool) string {
	var b strings.Builder
	for extra != "" {
		blank := len(extra) - len(strings.TrimLeft(extra, " \t"))
		end := blank
		for end < len(extra) && extra[end] != ' ' && extra[end] != '\t' {
			end++
		}
		key, value, _ := strings.Cut(extra[blank:end], "=")
		if !drop(strings.TrimSuffix(key, ":protected"), value) {
			b.WriteString(extra[:end])
		}
		extra = extra[end:]
	}
	return strings.TrimLeft(b.String(), " ")
}

// MakeApp makes an application password for a user, and the secret that is not stored. expires is a time, a day or empty; schemes are of
// Generate, by default SCRAM-SHA-256, which serves PLAIN and LOGIN too: of a long random secret any hash will do.
func MakeApp(user, label, expires string, nets, schemes []string) (app *NewApp, secret string, err error) {
	if err := CheckLabel(label); err != nil {
		return nil, "", err
	}
	app = &NewApp{Label: label, Nets: nets}
	if expires != "" {
		if app.Expires, err = ParseExpiry(expires); err != nil {
			return nil, "", err
		}
		if !time.Now().Before(app.Expires) {
			return nil, "", fmt.Errorf("expires: %s is in the past", expires)
		}
	}
	if err := new(User).parseNets(strings.Join(nets, ",")); len(nets) > 0 && err != nil {
		return nil, "", fmt.Errorf("allow_nets: %w", err)
	}
	if len(schemes) == 0 {
		schemes = []string{"SCRAM-SHA-256"}
	}
	secret = NewSecret()
	for _, scheme := range schemes {
		if strings.EqualFold(scheme, "PLAIN") {
			return nil, "", errors.New("PLAIN: an application password is stored as a hash; SCRAM-SHA-256 and DIGEST-MD5 serve their mechanisms")
		}
		made, err := GenerateEach(scheme, user, secret, Options{})
		if err != nil {
			return nil, "", fmt.Errorf("scheme %s: %w", scheme, err)
		}
		app.Credentials = append(app.Credentials, made...)
	}
	return app, secret, nil
}

// FormatExpiry writes a time as ParseExpiry reads it; empty for none.
func FormatExpiry(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
