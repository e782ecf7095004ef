package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Messages are taken from one spool to another: by the running server, where the
// routes that it gets then take them, and by the command when nothing runs. What is held stays held, and each is delivered once.
func TestSpoolMove(t *testing.T) {
	t.Parallel()
	const messages = 40
	s := newServer(t)
	s.writeUsers("")
	configuration := func(spool, route string) string {
		return strings.ReplaceAll(s.caddyfile(layout{msa: `
	deliver ` + route + `
	queue {
		retry 1h
	}`}), s.dir+"/spool", s.dir+"/"+spool)
	}
	waits := `pipe /bin/sh -c "exit 75"`
	s.write("Caddyfile", configuration("spool", waits))
	s.run()
	trust := s.tlsConfig()
	var ids []string
	for i := range messages {
		ids = append(ids, s.mustSend(trust, "alice@example.org", "alice@example.org", fmt.Sprintf("bob%d@example.net", i), letter(fmt.Sprintf("number %d", i))))
	}
	s.mustMSA("queue", "hold", ids[0])
	awaitQueue := func() {
		t.Helper()
		s.await("the queue", func() bool {
			out, _ := s.msa("queue", "list", "--state", "queued")
			return !slices.ContainsFunc(ids[1:], func(id string) bool { return !strings.Contains(out, id) })
		})
	}
	awaitQueue()

	// Nothing runs: the command does it.
	s.stop()
	old, young := "file:"+filepath.Join(s.dir, "spool"), "file:"+filepath.Join(s.dir, "young")
	if out := s.mustMSA("spool", "move", old, young); !strings.Contains(out, fmt.Sprintf("%d messages moved", messages)) {
		t.Fatal(out)
	}
	if out := s.mustMSA("spool", "move", old, young); !strings.Contains(out, "0 messages moved") {
		t.Fatal(out)
	}
	s.refusedMSA("there is no spool", "spool", "move", "file:"+filepath.Join(s.dir, "typing-error"), young)
	s.refusedMSA("no kind of spool", "spool", "move", "fiel:"+s.dir, young)

	s.write("Caddyfile", configuration("young", waits))
	s.run()
	awaitQueue()
	// The server runs, and moves what is left in the spool of the configuration before to the one that it has now.
	third := "file:" + filepath.Join(s.dir, "third")
	if status, body := s.load(configuration("third", waits)); status != 200 {
		t.Fatal(status, body)
	}
	// Until then the operator sees what is in both.
	if out := s.mustMSA("queue", "lanes"); !strings.Contains(out, "FORMER SPOOL") || !strings.Contains(out, "/young") {
		t.Error(out)
	}
	if out := s.mustMSA("spool", "check"); !strings.Contains(out, "0 messages of 0 B, 0 not whole\n") || !strings.Contains(out, fmt.Sprintf("%d messages of", messages)) || !strings.Contains(out, "/young") {
		t.Error(out)
	}
	nobodys := "file:" + filepath.Join(s.dir, "nobodys")
	if out := s.mustMSA("spool", "move", young, nobodys); !strings.Contains(out, fmt.Sprintf("%d messages moved", messages)) || !strings.Contains(out, "no server has the spool") {
		t.Fatal(out)
	}
	if out := s.mustMSA("spool", "move", nobodys, third); !strings.Contains(out, fmt.Sprintf("%d messages moved", messages)) || strings.Contains(out, "no server has") {
		t.Fatal(out)
	}
	awaitQueue()
	s.await("the end of the old spool", func() bool { return strings.Contains(s.log.String(), "spool is empty and is closed") })
	if status, body := s.load(configuration("third", "maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}")); status != 200 {
		t.Fatal(status, body)
	}
	for i := 1; i < messages; i++ {
		s.await("delivery", func() bool { return len(s.mail(fmt.Sprintf("bob%d@example.net", i), 1)) == 1 })
	}
	s.await("the held message alone", func() bool {
		out := s.mustMSA("queue", "list")
		return strings.Contains(out, ids[0]) && !slices.ContainsFunc(ids[1:], func(id string) bool { return strings.Contains(out, id) })
	})
	s.mustMSA("queue", "release", ids[0])
	s.await("delivery of what was held", func() bool { return len(s.mail("bob0@example.net", 1)) == 1 })
}
