package passwd

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// All that a change does not concern stays, octet for octet; a change and its contrary give the line that was.
func TestApplyLine(t *testing.T) {
	app := &NewApp{Label: "phone", Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Nets: []string{"192.0.2.0/24"}, Credentials: []string{"{PLAIN}x", "{SHA256}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg="}}
	const written = "app_password=phone;expires=2030-01-01T00:00:00Z;nets=192.0.2.0/24;{PLAIN}x;{SHA256}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg="
	for _, tt := range []struct {
		change     Change
		line, want string // "!": an error that has the rest
		note       string
	}{
		{Change{Disable: true}, "alice:{PLAIN}x", "alice:{PLAIN}x::::::nologin", ""},
		{Change{Disable: true}, "alice:{PLAIN}x:1:2:g:/h:/s:a=b  c=d", "alice:{PLAIN}x:1:2:g:/h:/s:a=b  c=d nologin", ""},
		{Change{Disable: true}, "alice:{PLAIN}x::::::nologin a=b", "alice:{PLAIN}x::::::nologin a=b", ""},
		{Change{Enable: true}, "alice:{PLAIN}x::::::nologin", "alice:{PLAIN}x", ""},
		{Change{Enable: true}, "alice:{PLAIN}x:::::: a=b  nologin  fail=yes c=d", "alice:{PLAIN}x::::::a=b c=d", ""},
		{Change{Enable: true}, "alice:", "alice:", ""},
		{Change{Enable: true}, "alice:!x", "!locked", ""},
		{Change{Rename: "bob"}, "alice:{PLAIN}x::::::addresses=a@example.org", "bob:{PLAIN}x::::::addresses=a@example.org", ""},
		{Change{Rename: "b@x"}, "a@x:{PLAIN}x {DIGEST-MD5}0123456789abcdef0123456789abcdef", "b@x:{PLAIN}x", "old name"},
		{Change{Rename: "bob"}, "alice:{PLAIN}x::::::app_password=a;{SHA}" + strings.Repeat("00", 20) + ";{digest-md5.realm=R}0123456789abcdef0123456789abcdef q=1", "bob:{PLAIN}x::::::app_password=a;{SHA}" + strings.Repeat("00", 20) + " q=1", "old name"},
		{Change{Rename: "a:b"}, "alice:{PLAIN}x", "!contains no", ""},
		{Change{Rename: "#a"}, "alice:{PLAIN}x", "!contains no", ""},
		{Change{Rename: " a"}, "alice:{PLAIN}x", "!white space", ""},
		{Change{AddApp: app}, "alice:", "alice:::::::" + written, ""},
		{Change{AddApp: app}, "alice:{PLAIN}x::::::a=b", "alice:{PLAIN}x::::::a=b " + written, ""},
		{Change{AddApp: app}, "alice:::::::app_password=Phone;{PLAIN}y", "!there is an application password Phone already; choose another label", ""},
		{Change{RevokeApp: "PHONE"}, "alice:{PLAIN}x::::::a=b " + written + " c=d", "alice:{PLAIN}x::::::a=b c=d", ""},
		{Change{RevokeApp: "phon"}, "alice:{PLAIN}x::::::" + written, "!no application password", ""},
		{Change{RevokeApp: "phone"}, "alice:{PLAIN}x", "!no application password", ""},
	} {
		got, note, err := tt.change.ApplyLine(tt.line)
		if want, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNoApp) {
				t.Errorf("%+v of %q: %q, %v; want %q", tt.change, tt.line, got, err, want)
			}
			continue
		}
		if err != nil || got != tt.want || (tt.note == "") != (note == "") || !strings.Contains(note, tt.note) {
			t.Errorf("%+v of %q: %q, %q, %v; want %q", tt.change, tt.line, got, note, err, tt.want)
		}
	}
}

func TestMakeApp(t *testing.T) {
	app, secret, err := MakeApp("alice", "phone", "2999-01-01", []string{"local", "192.0.2.1"}, []string{"SCRAM-SHA-256", "DIGEST-MD5.realm=R"})
	u := User{Name: "alice"}
	if err != nil || u.AddAppPassword(app.Text()) != nil || len(u.Apps[0].Credentials) != 2 || !u.Apps[0].AllowLocal || u.Apps[0].Expires.Year() != 2999 || strings.Contains(app.Text(), secret) {
		t.Errorf("%+v, %v", app, err)
	}
	for _, bad := range [][]string{{"a b", "", "", ""}, {"phone", "soon", "", ""}, {"phone", "2001-01-01", "", ""}, {"phone", "", "here", ""}, {"phone", "", "", "PLAIN"}, {"phone", "", "", "ROT13"}} {
		var nets, schemes []string
		if bad[2] != "" {
			nets = bad[2:3]
		}
		if bad[3] != "" {
			schemes = bad[3:]
		}
		if _, _, err := MakeApp("alice", bad[0], bad[1], nets, schemes); err == nil {
			t.Error("no error:", bad)
		}
	}
}

// Whatever a line says, a change leaves one that can be read, of the same user.
func FuzzApplyLine(f *testing.F) {
	f.Add("alice:{PLAIN}x:1:2:g:/h:/s:a=b  nologin app_password=phone;{PLAIN}x", "phone")
	f.Add("a@x:{PLAIN}x {DIGEST-MD5}0123456789abcdef0123456789abcdef", "x")
	f.Fuzz(func(t *testing.T, line, word string) {
		before, err := ParseLine(line)
		if err != nil || word == "" {
			return
		}
		for _, change := range []Change{{Disable: true}, {Enable: true}, {Rename: word}, {RevokeApp: word}} {
			edited, _, err := change.ApplyLine(line)
			if err != nil {
				continue
			}
			after, err := ParseLine(edited)
			if err != nil {
				t.Errorf("%+v of %q is %q: %v", change, line, edited, err)
				continue
			}
			if change.Rename == "" && (after.Name != before.Name || len(after.Credentials) != len(before.Credentials)) || len(after.Addresses) != len(before.Addresses) || change.Disable && !after.Disabled {
				t.Errorf("%+v of %q is %q", change, line, edited)
			}
		}
	})
}
