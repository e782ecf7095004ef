package passwd

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// Table is the content of a users file. It does not change and may be used
// concurrently.
type Table struct {
	users  []*User
	byName map[string]*User // by what fold makes of it
	fold   names.Case
	decoys decoys
}

// Parse reads a users file. Blank lines and lines that begin with "#" are
// skipped, line ends may be LF or CRLF. An error names the line. fold is how names compare: two that
// are alike are an error, as is a file without users unless it says so: see NoUsers.
func Parse(r io.Reader, fold names.Case) (*Table, error) { return ParseAgain(r, fold, nil) }

// NoUsers is the line of a users file that is to have none. A file that was cut off must not lock everybody out, so that
// one without users is an error otherwise.
const NoUsers = "# no users"

// ParseAgain is Parse for a file that was read before. Users whose lines are what they were are those of the table
// before, so that both together need little more memory than one.
func ParseAgain(r io.Reader, fold names.Case, before *Table) (*Table, error) {
	var users []*User
	var lines []int
	in := textfile.NewReader(r, "")
	in.Exact = true // passwords may have spaces of any kind
	mayBeEmpty := false
	for in.Next() {
		line, n := in.Line(), in.Number()
		mayBeEmpty = mayBeEmpty || string(bytes.TrimSpace(line)) == NoUsers
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		u := before.unchanged(line)
		if u == nil {
			parsed, err := ParseLine(string(line))
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if u = &parsed; u.Problem != nil {
				u.Problem = fmt.Errorf("line %d: user %q: %w", n, u.Name, u.Problem)
			} else {
				u.sum = maphash.Bytes(sumSeed, line)
			}
		}
		users, lines = append(users, u), append(lines, n)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(users) == 0 && !mayBeEmpty {
		return nil, fmt.Errorf("line %d: the file ends and has no users; a line is name:{SCHEME}password; if nobody is meant, write %q", in.Number(), NoUsers)
	}
	return newTable(users, fold, func(i int) string { return fmt.Sprintf("line %d", lines[i]) })
}

// sumSeed is for sums of lines, which do not leave the process.
var sumSeed = maphash.MakeSeed()

// unchanged returns the user of a line that the file had before.
func (t *Table) unchanged(line []byte) *User {
	if t == nil {
		return nil
	}
	name, _, _ := bytes.Cut(line, []byte(":"))
	u := t.Lookup(string(name))
	if u == nil || u.Name != string(name) || u.Problem != nil || u.sum != maphash.Bytes(sumSeed, line) {
		return nil
	}
	return u
}

// NewTable makes a table of users from elsewhere. Two whose names are alike are an error.
func NewTable(users []User, fold names.Case) (*Table, error) {
	all := make([]*User, len(users))
	for i := range users {
		all[i] = &users[i]
	}
	return newTable(all, fold, func(i int) string { return fmt.Sprintf("user %d", i+1) })
}

func newTable(users []*User, fold names.Case, place func(i int) string) (*Table, error) {
	t := &Table{users: users, byName: make(map[string]*User, len(users)), fold: fold}
	for i, u := range users {
		// PLAIN, LOGIN and SCRAM bring names in their SASLprep form, DIGEST-MD5 does not.
		keys := []string{fold.Key(u.Name)}
		if p, err := sasl.PrepareQuery(u.Name); err == nil && fold.Key(p) != keys[0] {
			keys = append(keys, fold.Key(p))
		}
		for _, name := range keys {
			if other := t.byName[name]; other != nil {
				return nil, fmt.Errorf("%s: %w", place(i), sameUser(u.Name, other.Name, place(slices.Index(users, other))))
			}
			t.byName[name] = u
		}
	}
	t.decoys = newDecoys(t.users)
	return t, nil
}

func sameUser(name, first, place string) error {
	if name == first {
		return fmt.Errorf("user %q is the same as in %s; delete one", name, place)
	}
	return fmt.Errorf("user %q is the same as %q in %s; delete one, or set case exact if both are meant", name, first, place)
}

// Problems are those of users who cannot log in, or not with all that is stored of them. There are no
// more than most of them, and how many there are in all.
func (t *Table) Problems(most int) (some []error, all int) {
	for _, u := range t.users {
		if u.Problem == nil {
			continue
		}
		if all++; all <= most {
			some = append(some, u.Problem)
		}
	}
	return some, all
}

// Len returns the number of users.
func (t *Table) Len() int { return len(t.users) }

// All returns the users in the order of the file.
func (t *Table) All() iter.Seq[*User] {
	return func(yield func(*User) bool) {
		for _, u := range t.users {
			if !yield(u) {
				return
			}
		}
	}
}

// Lookup returns the user of that name, disabled or not, or nil.
func (t *Table) Lookup(name string) *User { return t.byName[t.fold.Key(name)] }

// find is Lookup for the name that a client gives, which may be name+label.
func (t *Table) find(name string) *User {
	if u := t.Lookup(name); u != nil {
		return u
	}
	if user, label, ok := SplitLabel(name); ok {
		return t.Lookup(user).With(label)
	}
	return nil
}

// Find returns the user of a name as clients give it: of name+label, where nobody else is called that, as it is with that application
// password alone. It may be disabled; nil if there is none.
func (t *Table) Find(name string) *User { return t.find(name) }

// active returns the user if it may log in from there, or nil, which u may be too.
func (u *User) active(from netip.Addr) *User {
	if u == nil || u.Disabled || !u.AllowedFrom(from) || u.app != nil && u.app.refused(from) != nil {
		return nil
	}
	return u
}

// Check checks a password. It returns the user, or nil if there is no such
// user, it is disabled, has no credential, may not come from there (the zero
// Addr is a unix socket) or has another password: all of these take the time of
// some real user's wrong password, chosen with secret. An error means
// that the password could not be checked, for instance because ctx ended while
// it waited: of the schemes that need much memory only a few run at a time. Or it is ErrAppExpired or ErrAppNetwork, which
// refuse the user like a wrong password. The user is what With returns where it was an application password.
func (t *Table) Check(ctx context.Context, secret []byte, name, password string, from netip.Addr) (*User, error) {
	name = t.fold.Key(name)
	decoy := t.Decoy(secret, name) // chosen in any case, for the time it takes
	return check(ctx, t.find(name).active(from), decoy, password, from)
}

// check checks the password of u, or of the decoy in its place.
func check(ctx context.Context, u, decoy *User, password string, from netip.Addr) (*User, error) {
	if u == nil || len(u.all()) == 0 {
		u = decoy
	}
	return u.match(ctx, password, func(a *AppPassword) error { return a.refused(from) })
}

// DigestCandidate is what a DIGEST-MD5 response may be compared with.
type DigestCandidate struct {
	User     *User
	HA1      *[16]byte // MD5(user:realm:password), or nil
	Password string    // the clear password, where HA1 is nil
}

// DigestCandidates returns what a response for user in realm may be made from,
// in order: the user of that name with an HA1 for the realm, which counts for that spelling of the
// name alone since it is hashed with it, or a clear password, then the user called user@realm. Disabled users have none. Whether the
// realm was offered and the user may come from there is for the caller to check.
func (t *Table) DigestCandidates(user, realm string) (list []DigestCandidate) {
	list = t.find(user).DigestCandidates(user, realm)
	if realm != "" {
		list = append(list, t.Lookup(user+"@"+realm).DigestCandidates(user, realm)...)
	}
	return list
}

// DigestCandidates returns what a response for user in realm may be made from by this user,
// who is called that or user@realm. A disabled one, and nil, has none.
func (u *User) DigestCandidates(user, realm string) (list []DigestCandidate) {
	if u == nil || u.Disabled {
		return nil
	}
	for _, ha1 := range u.DigestHA1(user, realm) {
		list = append(list, DigestCandidate{User: u, HA1: &ha1})
	}
	for _, c := range u.Credentials {
		if m, ok := c.method().(*clear); ok {
			list = append(list, DigestCandidate{User: u, Password: m.password})
		}
	}
	for i := range u.Apps {
		list = append(list, u.with(&u.Apps[i]).DigestCandidates(user, realm)...)
	}
	return list
}

// DigestHA1 returns the stored HA1s for a response of user in realm.
func (u *User) DigestHA1(user, realm string) (list [][16]byte) {
	if u.decoy {
		return nil
	}
	for _, c := range u.Credentials {
		if d, ok := c.method().(*digest); ok && d.user == user && d.realm == realm {
			list = append(list, d.ha1)
		}
	}
	return list
}

// splitRealm cuts user@realm at the last "@", as Dovecot does for DIGEST-MD5.
func splitRealm(name string) (user, realm string) {
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}
