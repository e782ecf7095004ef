package smtpd

import (
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// A client that is not ours submits, both ways.
func TestIndependentClient(t *testing.T) {
	for name, implicit := range map[string]bool{"STARTTLS": false, "implicit TLS": true} {
		t.Run(name, func(t *testing.T) {
			b := newBackend()
			x := dial(t, b, implicit)
			var c *smtp.Client
			if implicit {
				if err := x.step("TLS"); err != nil {
					t.Fatal(err)
				}
				c = smtp.NewClient(x.nc)
			} else {
				var err error
				if c, err = smtp.NewClientStartTLS(x.raw, clientTLS()); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Auth(sasl.NewPlainClient("", "alice", "secret")); err != nil {
				t.Fatal(err)
			}
			if size, ok := c.MaxMessageSize(); !ok || size != 52428800 {
				t.Errorf("size %d", size)
			}
			text := "From: alice@example.org\r\n\r\n.\r\n..dots\r\n"
			if err := c.SendMail("alice@example.org", []string{"bob@example.net", "carol@example.net"}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			if err := c.Quit(); err != nil {
				t.Fatal(err)
			}
			if x.close(); len(b.messages) != 1 || b.messages[0] != text {
				t.Errorf("stored %q", b.messages)
			}
		})
	}
}
