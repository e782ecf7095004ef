package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// BenchmarkLargeQueue is a server with 200,000 messages of a destination that is down, beside one with an
// empty queue: how long it takes to start, its memory, a page of the list, and a submission on an
// open connection. The messages are put into the spool by a program beside.
func BenchmarkLargeQueue(b *testing.B) {
	const messages = 200_000
	for _, n := range []int{0, messages} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			down := freeAddress(b)
			s := newServer(b)
			s.writeUsers("")
			s.write("Caddyfile", s.caddyfile(layout{msa: `
	@down recipient_domain down.example
	deliver @down relay ` + down + ` {
		tls off
	}
	deliver discard`}))
			if n > 0 {
				fillSpool(b, filepath.Join(s.dir, "spool"), n)
			}
			began := time.Now()
			s.run()
			start := time.Since(began)
			list := func(after string) (next string) {
				resp, err := http.Get("http://" + s.admin + "/msa/queue?limit=100&after=" + after)
				if err != nil {
					b.Fatal(err)
				}
				defer resp.Body.Close()
				var page struct {
					Entries []struct{ ID string }
					Next    string
				}
				if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || len(page.Entries) != min(n, 100) {
					b.Fatalf("%d entries, %v", len(page.Entries), err)
				}
				return page.Next
			}
			began = time.Now()
			after := ""
			for range 100 {
				after = list(after)
			}
			page := time.Since(began) / 100
			c, err := s.as(s.tlsConfig(), "alice@example.org")
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			b.ResetTimer()
			for range b.N {
				if _, err := c.submit("alice@example.org", "bob@example.net", letter("x")); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(start.Seconds(), "start-s")
			b.ReportMetric(float64(page.Microseconds())/1000, "list-ms")
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
			if err != nil {
				b.Fatal(err)
			}
			for _, name := range []string{"VmHWM", "RssAnon"} {
				kib, _ := strconv.Atoi(string(regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)[1]))
				b.ReportMetric(float64(kib)/1024, name+"-MiB")
			}
		})
	}
}

// fillSpool runs a program of this module's that puts messages into a spool.
func fillSpool(b *testing.B, dir string, n int) {
	b.Helper()
	cmd := exec.Command("go", "run", "./spoolfill", dir, fmt.Sprint(n))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}
