package policysender

import (
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func TestConformance(t *testing.T) {
	mine := smtp.EnhancedCode{5, 7, 1}
	msatest.Policy(t, func(t testing.TB) any {
		p := new(SenderIdentity)
		if err := p.Provision(msatest.Context(t)); err != nil {
			t.Fatal(err)
		}
		return p
	},
		msatest.PolicyCase{Name: "own", Sender: "alice@example.org"},
		msatest.PolicyCase{Name: "null"},
		msatest.PolicyCase{Name: "sender", Sender: "bob@example.net", Code: 550, Status: mine, Rule: "MAIL FROM"},
		msatest.PolicyCase{Name: "from", Message: "From: bob@example.net\r\n\r\n", Code: 550, Status: mine, Rule: "From"},
	)
}
