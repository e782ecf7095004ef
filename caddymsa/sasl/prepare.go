package sasl

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"
)

// errPrepare does not say what was wrong: the text may be a password.
var errPrepare = errors.New("SASLprep (RFC 4013) does not allow this text, or it is too long")

// maxText bounds a user name or password, in octets; RFC 4616 section 2 wants
// 255 at least. Normalisation can make it eleven times as long, and password
// hashes cost time by length.
const maxText = 1024

// query is SASLprep for what a client presents. It differs from the library's
// profile in one point: code points that Unicode 3.2 did not know (emoji) pass
// (RFC 4013 section 2.5, RFC 4616 section 2).
var query = func() stringprep.Profile {
	p := stringprep.SASLprep
	p.Prohibits = []stringprep.Set{
		stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2,
		stringprep.TableC3, stringprep.TableC4, stringprep.TableC5,
		stringprep.TableC6, stringprep.TableC7, stringprep.TableC8,
		stringprep.TableC9,
	}
	return p
}()

// PrepareQuery applies SASLprep to a user name or password that a client
// presents, as PLAIN and LOGIN do. Text that is not UTF-8, has forbidden
// characters, is longer than 1024 octets, or of which nothing is left is an
// error.
func PrepareQuery(s string) (string, error) {
	return prepare(query, s)
}

// PrepareStored applies SASLprep to a user name or password that is to be
// stored, as SCRAM does also for what a client presents (RFC 5802 section
// 2.2): code points that Unicode 3.2 did not know are forbidden too.
func PrepareStored(s string) (string, error) {
	return prepare(stringprep.SASLprep, s)
}

func prepare(p stringprep.Profile, s string) (string, error) {
	if len(s) > maxText || !utf8.ValidString(s) {
		return "", errPrepare
	}
	if s != "" && isPrintableASCII(s) {
		return s, nil
	}
	out, err := p.Prepare(s)
	if err != nil || out == "" {
		return "", errPrepare
	}
	return out, nil
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// PasswordForms returns what a stored credential may have been made of, where a client presents
// password: the password as it came, what SASLprep makes of it, and its characters composed, if those are
// others. All together are one guess. Not everything that stores passwords knows of SASLprep, and people type
// what they type: "m²", a letter and its accent as two characters, a no-break space.
func PasswordForms(password string) []string {
	forms := []string{password}
	if isPrintableASCII(password) {
		return forms
	}
	if prepared, err := PrepareQuery(password); err == nil && prepared != password {
		forms = append(forms, prepared)
		if composed := norm.NFC.String(password); !slices.Contains(forms, composed) { // m² with an accent in two characters
			forms = append(forms, composed)
		}
	}
	return forms
}

// checkPair prepares the user name that PLAIN and LOGIN were given, and leaves the password as it is.
func checkPair(check PasswordFunc, user, password string) error {
	u, err := PrepareQuery(user)
	if err != nil {
		return claimed{refused("user name: " + err.Error()), user}
	}
	if len(password) > maxText {
		return claimed{refused(fmt.Sprintf("the password is longer than %d octets", maxText)), u}
	}
	return check(u, password)
}
