package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// On a disk that becomes full clients get 452 4.3.1 in good time, nothing that was accepted is lost, what is
// there is delivered, and when there is room again messages are taken again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := newServer(t)
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		installed.Lack(t, "(mounting a tmpfs)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	gate := filepath.Join(s.dir, "open")
	s.writeUsers("")
	config := s.caddyfile(layout{msa: `
	deliver pipe /bin/sh -c "test -e ` + gate + ` || exit 75; exec cat > $DIR/$$MSA_KEY" {
		concurrency 2
	}
	queue {
		retry 1h
	}`}) // attempts write records, and the ballast is for the restart: somebody could take its room as well, or they use it up
	config = strings.ReplaceAll(config, "$$MSA_KEY", "$MSA_KEY")
	config = strings.Replace(config, "spool file "+s.dir+"/spool", "spool file "+disk+"/spool {\n\treserve 16MiB\n\t}", 1)
	s.write("Caddyfile", config)
	s.run()
	trust := s.tlsConfig()
	message := func(n int) string {
		return fmt.Sprintf("From: alice@example.org\r\nSubject: %d\r\n\r\n%s", n, strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 16<<10))
	}
	accepted := 0
	full := func() (reply string) {
		t.Helper()
		for range 200 { // some 1 MiB each
			c, err := s.as(trust, "alice@example.org")
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.submit("alice@example.org", "bob@example.net", message(accepted))
			c.close()
			if refused, ok := errors.AsType[*unexpected](err); ok {
				return refused.got
			}
			if err != nil {
				t.Fatal(err)
			}
			accepted++
		}
		t.Fatal("it is never full")
		return ""
	}
	if reply := full(); !strings.HasPrefix(reply, "452 4.3.1 ") {
		t.Errorf("full: %s", reply)
	}
	if accepted < 20 {
		t.Errorf("full after %d messages", accepted)
	}
	// Somebody else takes the rest.
	if err := os.WriteFile(filepath.Join(disk, "somebody"), make([]byte, 96<<20), 0o600); err == nil {
		t.Fatal("there was room")
	}
	if reply := full(); !strings.HasPrefix(reply, "452 4.3.1 ") {
		t.Errorf("not a byte is free: %s", reply)
	}
	s.kill()
	s.run() // on the full disk
	if err := os.Remove(filepath.Join(disk, "somebody")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	delivered := func() map[string]bool {
		subjects := make(map[string]bool)
		names, _ := filepath.Glob(filepath.Join(s.dir, "M*-*"))
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil {
				n := subject(b)
				if strings.HasSuffix(string(b), "\r\nSubject: "+n+"\r\n\r\n"+strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 16<<10)) {
					subjects[n] = true
				}
			}
		}
		return subjects
	}
	awaitProbe(t, "everything that was accepted", func() bool {
		if len(delivered()) >= accepted {
			return true
		}
		_, _ = s.msa("queue", "retry", "--all") // again: an attempt from before the gate was open may be recorded after it
		return false
	})
	if got := delivered(); len(got) != accepted {
		t.Errorf("%d of %d messages", len(got), accepted)
	}
	s.await("room", func() bool {
		reply := s.endOfData(trust, letter("again"))
		return strings.HasPrefix(reply, "250 ")
	})
	s.stop() // after the commands that write into its directory
}
