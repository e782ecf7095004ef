package mapregexp

import (
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// The doctor says how many rules there are, and which of them do nothing.
func TestExamine(t *testing.T) {
	for want, c := range map[string]struct {
		level doctor.Level
		rules string
	}{
		"it has 2 rules for recipients and 1 for senders":                             {doctor.OK, "actual boss@otpnet\\.nl chef@example.net\nactual (.+)@otpnet\\.nl $1@xyz.nl\nlogical (.+)@xyz\\.nl $1@otpnet.nl"},
		`actual boss@otpnet\.nl is never reached: the rule (.+)@otpnet\.nl before it`: {doctor.Warn, "actual (.+)@otpnet\\.nl $1@xyz.nl\nactual boss@otpnet\\.nl chef@example.net"},
		`logical (.+)@xyz\.nl is never reached`:                                       {doctor.Warn, "logical (.+)@xyz\\.nl $1@otpnet.nl\nlogical (.+)@xyz\\.nl $1@example.org"},
		`actual (.+)@a\.nl makes an address that actual (.+)@b\.nl matches`:           {doctor.Warn, "actual (.+)@a\\.nl $1@b.nl\nactual (.+)@b\\.nl $1@c.nl"},
	} {
		m, err := open(t, "regexp {\n"+c.rules+"\n}")
		if err != nil {
			t.Fatal(err)
		}
		found := m.Examine(t.Context(), caddymsa.Examination{Subject: "server a: address map of route relay"})
		if len(found) != 1 || found[0].Level != c.level || !strings.Contains(found[0].Text, want) || (found[0].Remedy == "") != (c.level == doctor.OK) || found[0].Subject == "" {
			t.Errorf("not %s %q: %+v", c.level, want, found)
		}
	}
}
