package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// "Where is my message?", answered with no log file: of what was delivered, put off, bounced, held and released by whom,
// refused; by id, by address, by the next hop's queue id and by the error; the same after the process has ended.
func TestTraceAndHistory(t *testing.T) {
	t.Parallel()
	hop := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			switch {
			case strings.HasPrefix(line, "RCPT TO:<late@"):
				return "451 4.2.1 Mailbox is busy \x1b[2J"
			case strings.HasPrefix(line, "RCPT TO:<gone@"):
				return "550 5.1.1 <gone@far.example>: no such user"
			case line == ".":
				return "250 2.0.0 Ok: queued as 4XyZ1k"
			}
			return ""
		}
	})
	s := start(t, layout{msa: `
	@far recipient_domain far.example
	deliver @far relay ` + hop.Addr + ` {
		tls off
	}
	@near recipient_domain example.org example.net
	deliver @near maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 1h
	}`})
	trust := s.tlsConfig()
	send := func(to string) string {
		t.Helper()
		return s.mustSend(trust, "alice@example.org", "alice@example.org", to, "From: alice@example.org\r\nSubject: secret subject\r\n\r\nHello\r\n")
	}
	delivered, late, gone := send("bob@far.example"), send("late@far.example"), send("gone@far.example")
	s.mail("alice@example.org", 1) // the notification
	traced := func(id string, wants ...string) (out string) {
		t.Helper()
		for until := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
			missing := ""
			out = s.mustMSA("trace", id)
			for _, want := range wants {
				if !strings.Contains(out, want) {
					missing = want
				}
			}
			if missing == "" {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("no %q in the story of %s:\n%s", missing, id, out)
			}
		}
		if strings.Contains(out, "\x1b") || strings.Contains(out, "secret subject") {
			t.Errorf("%q", out)
		}
		return out
	}
	first := traced(delivered, delivered+"  delivered", "user        alice@example.org  ", "client      127.0.0.1", "TLS1.3", "session ", "size ", "policies    ", "recipient   bob@far.example  delivered",
		"accepted  bob@far.example", "delivered  bob@far.example", "attempt 1, lane ", hop.Addr, "in clear", "250 2.0.0 Ok: queued as 4XyZ1k")
	s.mustMSA("queue", "hold", late, "--reason", "court order")
	s.mustMSA("queue", "release", late, "--reason", "judge said so")
	traced(late, late+"  queued", "451 4.2.1 Mailbox is busy", "next ", "held\n    court order\n    by ", "released\n    judge said so\n    by ", "attempt 2", "waits ")
	out := traced(gone, gone+"  failed", "550 5.1.1 <gone@far.example>: no such user", "bounced  gone@far.example\n    notification ", "  notification ", "delivered  alice@example.org")
	notification := regexp.MustCompile(`notification ([0-9A-Z]+)  delivered`).FindStringSubmatch(out)
	if notification == nil {
		t.Fatalf("the notification is not followed:\n%s", out)
	}
	traced(notification[1], "about       "+gone+"  bounced  gone@far.example", "sender      <>")

	// A refusal has no message.
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.send("MAIL FROM:<eve@example.com>\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.want("55"); err != nil {
		t.Fatal(err)
	}
	s.await("the refusal", func() bool {
		out := s.mustMSA("history", "--user", "ALICE@example.org", "--state", "refused")
		return strings.Contains(out, "refused") && strings.Contains(out, "MAIL: 55") && strings.Contains(out, "eve@example.com")
	})

	// The process ends: what it knew is in the spool.
	s.stop()
	s.run()
	ago := regexp.MustCompile(`\(\w+ ago\)`)
	if again := traced(delivered, delivered+"  delivered"); ago.ReplaceAllString(again, "") != ago.ReplaceAllString(first, "") {
		t.Errorf("after the end of the process:\n%s\nbefore:\n%s", again, first)
	}
	for _, tt := range []struct {
		args []string
		ids  []string
	}{
		{[]string{"--id", late, "--state", "accepted"}, []string{late}},
		{[]string{"--recipient", "BOB@far.example"}, []string{delivered, delivered}},
		{[]string{"--address", "gone@far.example", "--state", "failed,bounced"}, []string{gone, gone}},
		{[]string{"--sender", "alice@example.org", "--state", "accepted", "--since", "1h"}, []string{gone, late, delivered}},
		{[]string{"--sender", "<>", "--state", "accepted"}, notification[1:]},
		{[]string{"--hop-id", "4XyZ1k"}, []string{delivered}},
		{[]string{"--error", "NO SUCH user", "--state", "failed"}, []string{gone}},
		{[]string{"--recipient", "bob@far.example", "--until", "1h"}, nil},
	} {
		out := s.mustMSA(append([]string{"history", "--json"}, tt.args...)...)
		var ids []string
		for line := range strings.Lines(out) {
			var f journal.Fact
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			ids = append(ids, f.ID)
		}
		if strings.Join(ids, " ") != strings.Join(tt.ids, " ") {
			t.Errorf("%q: %q, want %q", tt.args, ids, tt.ids)
		}
	}
	whole := s.mustMSA("history", "--all", "--json")
	pages := ""
	for before := []string{}; ; {
		page := s.mustMSA(append([]string{"history", "--limit", "2"}, before...)...)
		pages += page
		next := regexp.MustCompile(`--before (\S+),`).FindStringSubmatch(page)
		if next == nil {
			break
		}
		before = []string{"--before", next[1]}
	}
	if a, b := strings.Count(whole, "\n"), strings.Count(pages, delivered)+strings.Count(pages, late)+strings.Count(pages, gone); a != strings.Count(pages, "\n")-2*strings.Count(pages, "TIME ")+1 || b == 0 {
		t.Errorf("all have %d facts; pages of two:\n%s", a, pages)
	}
	s.refusedMSA(`state: "lost" is not a state; there are accepted, deferred`, "history", "--state", "lost")
	s.refusedMSA("user: it is empty", "history", "--user", "")
	s.refusedMSA("nothing is known of 0123456789ABCDEF: it is not in the queue, and the journal has nothing of it. It begins ", "trace", "0123456789ABCDEF")

	// The log's way stays.
	logFile := filepath.Join(s.dir, "log.json")
	if err := os.WriteFile(logFile, []byte(s.log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.mustMSA("trace", delivered, "--log", logFile); !strings.Contains(out, "message accepted") || !strings.Contains(out, "delivery delivered") {
		t.Error(out)
	}

	// Personal data.
	if out := s.mustMSA("journal", "stat"); !strings.Contains(out, "Kept for 7d, at most 1.0 GiB") || !strings.Contains(out, "/spool") {
		t.Error(out)
	}
	s.refusedMSA("this cannot be taken back: add --yes", "journal", "purge", "--address", "gone@far.example")
	if out := s.mustMSA("journal", "purge", "--address", "gone@far.example", "--yes"); !regexp.MustCompile(`^[1-9]\d* facts changed`).MatchString(out) {
		t.Error(out)
	}
	if out := s.mustMSA("trace", gone); strings.Contains(out, "gone@far.example") || !strings.Contains(out, "550 5.1.1 <(purged)>: no such user") {
		t.Errorf("after the purge:\n%s", out)
	}
	if out := s.mustMSA("history", "--address", "gone@far.example"); !strings.Contains(out, "Nothing of this is in the journal") {
		t.Errorf("after the purge:\n%s", out)
	}

	// A journal that is off keeps nothing of what comes; the queue has it while it waits.
	if status, answer := s.load(s.caddyfile(layout{msa: `
	deliver relay ` + freeAddress(t) + ` {
		tls off
	}
	queue {
		retry 1h
	}
	journal off`})); status != 200 {
		t.Fatal(answer)
	}
	waits := send("bob@far.example")
	if out := s.mustMSA("trace", waits); !strings.Contains(out, waits+"  queued") || !strings.Contains(out, "The journal has nothing of it. The journal is off (journal off in the configuration)") {
		t.Error(out)
	}
	s.mustMSA("queue", "delete", waits, "--yes")
	s.refusedMSA("The journal is off", "trace", waits)
}
