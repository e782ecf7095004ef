package nexthop

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func TestOriginalRecipient(t *testing.T) {
	for in, want := range map[string][2]string{ // with SMTPUTF8, and without
		"rfc822;a+40b@example.org":          {"rfc822;a+40b@example.org", "rfc822;a+40b@example.org"},
		"X400;+2FC=de":                      {"", ""},
		"x400;+2FC+3Dde":                    {"x400;+2FC+3Dde", "x400;+2FC+3Dde"},
		`utf-8;\x{FC}@example.org`:          {`utf-8;\x{FC}@example.org`, `utf-8;\x{FC}@example.org`},
		"utf-8;ü@example.org":               {"utf-8;ü@example.org", `utf-8;\x{FC}@example.org`},
		"rfc822;ü@example.org":              {"", ""},
		"rfc822;a+4":                        {"", ""},
		"rfc822;a+4x":                       {"", ""},
		"rfc822;a b":                        {"", ""},
		"rfc822;a\r\nRSET":                  {"", ""},
		"rfc 822;a":                         {"", ""},
		";a":                                {"", ""},
		"rfc822;":                           {"", ""},
		"rfc822":                            {"", ""},
		"utf-8;\xff":                        {"", ""},
		"utf-8;" + strings.Repeat("ü", 100): {"utf-8;" + strings.Repeat("ü", 100), ""},
	} {
		if have := [2]string{originalRecipient(in, true), originalRecipient(in, false)}; have != want {
			t.Errorf("%q: %q", in, have)
		}
	}
}

func TestMergeNotify(t *testing.T) {
	list := func(s string) []smtp.DSNNotify { return notifyOptions(strings.Split(s, ",")) }
	for _, c := range [][3]string{
		{"", "", ""}, {"NEVER", "never", "NEVER"}, {"NEVER", "", "FAILURE,DELAY"}, {"", "SUCCESS", "FAILURE,DELAY,SUCCESS"},
		{"SUCCESS", "SUCCESS,FAILURE", "SUCCESS,FAILURE"}, {"NEVER,SUCCESS", "x", ""},
	} {
		var have []string
		for _, n := range mergeNotify(list(c[0]), list(c[1])) {
			have = append(have, string(n))
		}
		if strings.Join(have, ",") != c[2] {
			t.Errorf("%q: %q", c, have)
		}
	}
}

// FuzzParameters: whatever a client put into its parameters, a command is one line, and no more.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{"rfc822;a+40b", "utf-8;\\x{FC}@x", "x400;x", "rfc822;+0D+0A", "utf-8;\\x{D}\\x{A}", ";", "rfc822;+", "utf-8;ü"} {
		f.Add(s, "NEVER", "id", true)
	}
	f.Fuzz(func(t *testing.T, orcpt, notify, envid string, utf8 bool) {
		d := msatest.NewDelivery(nil, "bob@example.org")
		r := d.Recipients[0]
		r.ORCPT, r.Notify, d.Entry.EnvelopeID, d.Entry.Return = orcpt, strings.Split(notify, ","), envid, "HDRS"
		m := messageOf(d)
		x := &extensions{dsn: true, sized: true, eightBit: true, utf8: utf8}
		for _, command := range []string{mailCommand(&m.Message, x), rcptCommand(m.Recipients[0], x, utf8)} {
			words := strings.Split(command, " ")
			if hasControl(command) || len(words) > 6 || !utf8 && !isASCII(command) {
				t.Fatalf("%q", command)
			}
		}
	})
}
