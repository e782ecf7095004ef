package mapregexp

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func open(t *testing.T, text string) (*Regexp, error) {
	t.Helper()
	m := new(Regexp)
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	return m, m.Provision(msatest.Context(t))
}

func TestMap(t *testing.T) {
	m, err := open(t, `regexp {
		actual boss@otpnet\.nl chef@example.net
		actual (.+)@otpnet\.nl $1@xyz.nl
		actual (?i)(?P<name>[a-z]+)\.(?P<dept>[a-z]+)@example\.org "${dept}+${name}@in.example.org"
		logical (.+)@xyz\.nl $1@otpnet.nl
	}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		logical       bool
		address, want string
	}{
		{false, "boss@otpnet.nl", "chef@example.net"}, {false, "abc@OTPNET.nl", "abc@xyz.nl"}, {false, "abc@otpnet.nl.example", ""}, {false, "x@sub.otpnet.nl", ""},
		{false, "Ann.Sales@example.org", "Sales+Ann@in.example.org"}, {false, "abc@xyz.nl", ""},
		{false, `"John \"J\" Doe"@otpnet.nl`, `"John \"J\" Doe"@xyz.nl`}, {false, `"abc@otpnet.nl"@otpnet.nl`, `"abc@otpnet.nl"@xyz.nl`}, // quotes are not a part of what a group has
		{false, `"a..b"@otpnet.nl`, `"a..b"@xyz.nl`}, {false, `"a.b"@otpnet.nl`, "a.b@xyz.nl"},
		{true, "abc@xyz.nl", "abc@otpnet.nl"}, {true, "abc@otpnet.nl", ""},
	} {
		a, err := mailaddr.Parse(tt.address, true)
		if err != nil {
			t.Fatal(err)
		}
		f := m.Actual
		if tt.logical {
			f = m.Logical
		}
		if got, ok, err := f(t.Context(), a); got != tt.want || ok != (tt.want != "") || err != nil {
			t.Errorf("%s: %q %v %v", tt.address, got, ok, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for want, text := range map[string]string{
		"a rule is required":      "regexp",
		`unknown setting "both"`:  "regexp {\n both a b\n}",
		"takes a pattern":         "regexp {\n actual a\n}",
		"missing closing":         "regexp {\n actual (a b\n}",
		`unexpected "a"`:          "regexp a",
		"write ${1}_old":          "regexp {\n actual (.+)@old\\.example $1_old@new.example\n}",
		"group $2, which":         "regexp {\n actual (.+)@old\\.example $2@new.example\n}",
		"group ${name}, which":    "regexp {\n logical (?P<nam>.+)@old\\.example ${name}@new.example\n}",
		"group $é, which":         "regexp {\n logical (?P<nam>.+)@old\\.example $é@new.example\n}",
		"group $01, which":        "regexp {\n actual (.+)@old\\.example $01@new.example\n}",
		"local part is empty":     "regexp {\n actual (.+)@old\\.example @new.example\n}",
		"domain is empty":         "regexp {\n actual (.+)@old\\.example $1@\n}",
		"bad character in the":    "regexp {\n actual (.+)@old\\.example $0@new.example\n}",
		"has no domain":           "regexp {\n actual (.+)@old\\.example everybody\n}",
		"has {1}, which":          "regexp {\n actual (.+)@old\\.example {1}@new.example\n}",
		"write ${1}":              "regexp {\n actual (.+)@old\\.example old-%1@new.example\n}",
		"never matches: domains":  "regexp {\n actual (.+)@b\u00fccher\\.example $1@new.example\n}",
		"begins no group":         "regexp {\n actual (.+)@old\\.example $@new.example\n}",
		"what the address become": "regexp {\n actual a \"\"\n}",
	} {
		if _, err := open(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestGroups(t *testing.T) {
	for _, replacement := range []string{"$0", "$1@x.example", "${1}_old@x.example", "${name}@x.example", "$name@x.example", "a$$1@x.example", "${1}0%@x.example", "$$@x.example", "a@$1", "$1@$name.x.example"} {
		r := Rule{Pattern: "(?P<name>.+)@old.example", Replacement: replacement}
		if err := r.compile(); err != nil {
			t.Errorf("%s: %v", replacement, err)
		}
	}
}

func TestSample(t *testing.T) {
	for replacement, want := range map[string]string{"$1@xyz.nl": "x@xyz.nl", "${a}.${b}@XYZ.nl": "x.x@xyz.nl", "a@$1": "", "$1": ""} {
		if got := (&Rule{Replacement: replacement}).sample(); got != want {
			t.Errorf("%s: %q", replacement, got)
		}
	}
}
