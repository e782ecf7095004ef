package passwd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

func appLine(t *testing.T, fields ...string) User {
	t.Helper()
	u, err := ParseLine("alice@example.org:{PLAIN}main::::::" + strings.Join(fields, " "))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAppPasswordLine(t *testing.T) {
	u := appLine(t, "app_password=phone;expires=2027-01-31;nets=192.0.2.0/24,local;{PLAIN}s3cret;{SHA256}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=", "app_password=tablet;{PLAIN}t", "addresses=a@example.org")
	if len(u.Apps) != 2 || u.Apps[0].Label != "phone" || len(u.Apps[0].Credentials) != 2 || u.Apps[0].Expires.Year() != 2027 || len(u.Apps[0].AllowNets) != 1 || !u.Apps[0].AllowLocal || len(u.Addresses) != 1 {
		t.Errorf("%+v", u)
	}
	for _, text := range []string{fmt.Sprint(u), fmt.Sprintf("%+v", u.Apps), fmt.Sprintf("%v", u.Apps[0])} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, "phone") {
			t.Error(text)
		}
	}
	for text, want := range map[string]string{
		"":                                 "a label has 1 to 63",
		"{PLAIN}s3cret":                    "a label has 1 to 63",
		"a+b;{PLAIN}s3cret":                "a label has 1 to 63",
		"phone":                            "no password",
		"phone;s3cret":                     "unknown option",
		"phone;expires=soon;{PLAIN}s3cret": "is not a time; write 2027-01-31",
		"phone;nets=here;{PLAIN}s3cret":    "is not a network",
		"phone;{ROT13}s3cret":              "unknown scheme",
		"phone;{PLAIN}s3cret app_password=Phone;{PLAIN}x": "specified twice",
	} {
		_, err := ParseLine("alice:{PLAIN}x::::::app_password=" + text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	many := make([]string, MaxAppPasswords+1)
	for i := range many {
		many[i] = fmt.Sprintf("app_password=l%d;{PLAIN}x", i)
	}
	if _, err := ParseLine("alice:{PLAIN}x::::::" + strings.Join(many, " ")); err == nil {
		t.Error("no limit")
	}
	for _, line := range []string{"alice:{PLAIN}x:app_password=phone;{PLAIN}x", "alice:{PLAIN}x::::::app_passwort=phone;{PLAIN}x"} {
		if _, err := ParseLine(line); err == nil {
			t.Error("a slip: " + line)
		}
	}
}

// A user may have no secret but those of devices; one of an unsupported scheme keeps nobody else out; a user who is locked is so with all.
func TestAppPasswordAlone(t *testing.T) {
	table, err := Parse(strings.NewReader("alice:::::::app_password=phone;{PLAIN}s3cret\n"+
		"bob:{CRAM-MD5}00::::::app_password=phone;{PLAIN}s3cret\ncarol:!::::::app_password=phone;{PLAIN}s3cret\ndave:{PLAIN}s3cret::::::app_password=x;{CRAM-MD5}00\n"+
		"erin+phone:{PLAIN}hers\nerin:{PLAIN}x::::::app_password=phone;{PLAIN}s3cret\n"), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"alice": "alice phone", "bob": "bob phone", "carol": "", "dave": "dave", "erin": "erin phone", "erin+phone": "", "alice+phone": "alice phone"} {
		u, err := table.Check(context.Background(), []byte("secret"), name, "s3cret", netip.Addr{})
		got := ""
		if u != nil {
			got = u.Name
			if u.App() != nil {
				got += " " + u.App().Label
			}
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if key, u, err := table.SCRAM([]byte("secret"), "alice", netip.Addr{}); err != nil || u == nil || u.App().Label != "phone" || key.Iterations == 0 {
		t.Error("the only secret does not serve SCRAM:", u, err)
	}
	if !table.Lookup("alice").CanSCRAM() || table.Lookup("erin").CanSCRAM() || !table.Lookup("erin").CanDigest(nil) {
		t.Error("survey")
	}
}

// a name with a label costs what the user's whole name does, whichever secret may match, and so does a decoy.
func TestAppPasswordCost(t *testing.T) {
	u := appLine(t, "app_password=phone;{PLAIN}s3cret", "app_password=tablet;{PLAIN}t")
	if whole, one := passwordCost(&u), passwordCost(u.With("phone")); whole != one || strings.Count(whole, ",") != 2 {
		t.Errorf("%q, %q", whole, one)
	}
	table, err := NewTable([]User{u}, names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	if decoy := table.Decoy([]byte("secret"), "nobody"); len(decoy.Credentials) != 3 {
		t.Errorf("a decoy has %d credentials", len(decoy.Credentials))
	}
	for _, password := range []string{"main", "s3cret", "t"} { // a decoy matches nothing
		if u, err := table.Check(context.Background(), []byte("secret"), "nobody", password, netip.Addr{}); u != nil || err != nil {
			t.Error(u, err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b || len(a) < 26 || strings.ContainsFunc(a, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }) {
		t.Error(a, b)
	}
}

func FuzzAppPassword(f *testing.F) {
	for _, s := range []string{"phone;{PLAIN}s", "phone;expires=2027-01-31;nets=local;{PLAIN}s;{SHA256}x", ";{", "a;{}", "a;{PLAIN}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u := User{Name: "alice"}
		if u.AddAppPassword(text) != nil || u.Problem != nil {
			return
		}
		if len(u.Apps) != 1 || CheckLabel(u.Apps[0].Label) != nil || len(u.Apps[0].Credentials) == 0 {
			t.Errorf("%q: %+v", text, u)
		}
		if user, label, ok := SplitLabel("alice+" + u.Apps[0].Label); !ok || user != "alice" || u.With(label) == nil {
			t.Errorf("%q cannot be named", text)
		}
	})
}
