package passwd

import (
	"encoding/json"
	"fmt"
	"io"

	"go.uber.org/zap/zapcore"
)

// What is printed in the place of a secret.
const redacted = "REDACTED"

// String returns the scheme and REDACTED.
func (c Credential) String() string { return "{" + c.scheme + "}" + redacted }

// Format prints what String returns, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalJSON returns what String does, as a JSON string.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// String returns the name and the schemes.
func (u User) String() string {
	s := fmt.Sprintf("user %q", u.Name)
	if u.Disabled {
		s += " (disabled)"
	}
	for _, c := range u.Credentials {
		s += " " + c.String()
	}
	for _, a := range u.Apps {
		s += " app_password=" + a.String()
	}
	return s
}

// Format prints what String returns, whatever the verb.
func (a AppPassword) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// MarshalJSON returns what String does, as a JSON string.
func (a AppPassword) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// Format prints what String returns, whatever the verb.
func (u User) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// MarshalJSON returns all but the secrets.
func (u User) MarshalJSON() ([]byte, error) {
	addresses := make([]string, len(u.Addresses))
	for i, a := range u.Addresses {
		addresses[i] = a.String()
	}
	return json.Marshal(map[string]any{
		"name": u.Name, "credentials": u.Credentials, "disabled": u.Disabled,
		"app_passwords": u.Apps, "addresses": addresses, "allow_nets": u.AllowNets, "allow_local": u.AllowLocal,
	})
}

// MarshalLogObject logs the name and the schemes.
func (u User) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("name", u.Name)
	enc.AddBool("disabled", u.Disabled)
	return enc.AddArray("credentials", zapcore.ArrayMarshalerFunc(func(a zapcore.ArrayEncoder) error {
		for _, c := range u.Credentials {
			a.AppendString(c.String())
		}
		return nil
	}))
}

// String returns the number of users.
func (t Table) String() string { return fmt.Sprintf("%d users", t.Len()) }

// Format prints what String returns, whatever the verb.
func (t Table) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// Format hides the HA1 and the password.
func (c DigestCandidate) Format(f fmt.State, _ rune) {
	name := ""
	if c.User != nil {
		name = c.User.Name
	}
	fmt.Fprintf(f, "candidate of user %q %s", name, redacted)
}

// MarshalJSON hides the HA1 and the password.
func (c DigestCandidate) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(c)) }
