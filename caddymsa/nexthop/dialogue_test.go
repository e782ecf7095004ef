package nexthop_test

import (
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// What goes on the wire: exact spellings, and one connection for all.
func TestDialogue(t *testing.T) {
	h := hoptest.New(t, nil)
	r := to(h, nil)
	d := msatest.NewDelivery([]byte(text), `"a b"@Example.ORG`, "ü@bücher.example")
	d.Entry.Sender, d.Entry.SMTPUTF8, d.Entry.Return, d.Entry.EnvelopeID = `"x\"y"@Example.org`, true, "HDRS", "id+1 =x"
	d.Recipients[0].Notify, d.Recipients[0].ORCPT = []string{"SUCCESS", "FAILURE"}, "rfc822;a+20b+2B@example.org"
	d.Recipients[1].Notify, d.Recipients[1].ORCPT = []string{"NEVER"}, `utf-8;\x{FC}@example.org`
	for range 3 {
		for _, err := range outcomes(t, r, d) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"EHLO msa.example.org", "STARTTLS", "EHLO msa.example.org",
		`MAIL FROM:<"x\"y"@Example.org> BODY=8BITMIME SIZE=25 SMTPUTF8 RET=HDRS ENVID=id+2B1+20+3Dx`,
		`RCPT TO:<"a b"@Example.ORG> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+20b+2B@example.org`,
		`RCPT TO:<ü@bücher.example> NOTIFY=NEVER ORCPT=utf-8;\x{FC}@example.org`,
		"DATA",
	}
	want = append(append(want, want[3:]...), want[3:]...)
	if have := h.Said(""); strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if h.Connections() != 1 || len(h.Messages()) != 3 {
		t.Errorf("%d connections, %d messages", h.Connections(), len(h.Messages()))
	}
}

// The next hop is asked to tell nobody of a copy, whatever the recipients want; the rest of the envelope is theirs.
func TestDialogueOfCopy(t *testing.T) {
	h := hoptest.New(t, nil)
	d := msatest.NewDelivery([]byte(text), "bob@example.org", "carol@example.net")
	d.Copy = "journal"
	d.Entry.Return, d.Entry.EnvelopeID = "HDRS", "id1"
	d.Recipients[0].Notify, d.Recipients[0].ORCPT = []string{"SUCCESS", "FAILURE"}, "rfc822;b@example.org"
	for _, err := range outcomes(t, to(h, nil), d) {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "MAIL FROM:<alice@example.org> BODY=8BITMIME SIZE=25 RET=HDRS ENVID=id1\nRCPT TO:<bob@example.org> NOTIFY=NEVER ORCPT=rfc822;b@example.org\nRCPT TO:<carol@example.net> NOTIFY=NEVER"
	if have := strings.Join(append(h.Said("MAIL"), h.Said("RCPT")...), "\n"); have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
}

// BenchmarkDeliver relays over loopback in clear, to a hop that costs little.
func BenchmarkDeliver(b *testing.B) {
	for name, size := range map[string]int{"4KiB": 4 << 10, "20MiB": 20 << 20} {
		message := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72))
		b.Run(name, func(b *testing.B) {
			h := hoptest.New(b, func(h *hoptest.Hop) { h.TLS, h.Forget = nil, true })
			r := to(h, inClear)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Deliver(b.Context(), msatest.NewDelivery(message, "bob@example.org")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
