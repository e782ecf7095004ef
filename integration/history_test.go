package integration

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// octetsIn is how much a directory holds.
func octetsIn(t *testing.T, dir string) (n int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// Ten messages to 1,000 recipients each that a next hop puts off again and again, all with one
// reply or each with one of its own, grow neither the spool nor the log: an attempt is told with counts and places, not with all addresses.
func TestHistoryIsSmall(t *testing.T) {
	t.Parallel()
	const recipients, attempts = 1000, 8
	messages := often(10, 3)
	for name, reply := range map[string]func(to string, n int64) string{
		"one reply":      func(string, int64) string { return "450 4.2.1 Mailbox is busy, try again later" },
		"with addresses": func(to string, _ int64) string { return "450 4.2.1 " + to + ": mailbox is busy, try again later" },
		"with numbers": func(to string, n int64) string {
			return fmt.Sprintf("450 4.2.1 %s: mailbox is busy, try again later, ticket %d", to, n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hop := hoptest.New(t, func(h *hoptest.Hop) {
				h.TLS = nil
				var n atomic.Int64
				h.Reply = func(line string) string {
					if to, ok := strings.CutPrefix(line, "RCPT TO:"); ok {
						return reply(to, n.Add(1))
					}
					return ""
				}
			})
			s := start(t, layout{msa: `
	deliver relay ` + hop.Addr + ` {
		tls off
	}
	queue {
		retry 500ms
	}`})
			c, err := s.as(s.tlsConfig(), "alice@example.org")
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			for n := range messages {
				var b strings.Builder
				b.WriteString("MAIL FROM:<alice@example.org>\r\n")
				for i := range recipients {
					fmt.Fprintf(&b, "RCPT TO:<a-recipient-%d-%d@some-domain.example.net>\r\n", n, i)
				}
				if err := c.send(b.String()); err != nil {
					t.Fatal(err)
				}
				for range recipients + 1 {
					if err := c.want("250"); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := c.data(letter("to many")); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			awaitFor(t, 5*time.Minute, "attempts", func() bool { return len(hop.Said("MAIL")) >= attempts*messages })
			spool, log := octetsIn(t, filepath.Join(s.dir, "spool")), len(s.log.String())
			t.Logf("%d attempts at %d recipients in %s: spool %d KiB, log %d KiB", len(hop.Said("MAIL")), recipients, time.Since(began).Round(time.Second/10), spool>>10, log>>10)
			most := int64(2 << 20)
			if name == "with numbers" { // each is kept for the bounce, the last one
				most = 24 << 20
			}
			if spool > most || log > 2<<20 {
				t.Error("that is too much")
			}
		})
	}
}
