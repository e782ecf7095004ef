package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// heardBy reads what a program wrote that was given events.
func heardBy(file string) (all []statusEvent) {
	b, _ := os.ReadFile(file)
	for line := range bytes.Lines(b) {
		e := statusEvent{ID: string(line)}                     // what is told again is the same
		if err := json.Unmarshal(line, &e.Event); err == nil { // or it is being written, or was killed in the midst of that
			all = append(all, e)
		}
	}
	return all
}

// What becomes of messages that are left in a spool that a reload took out of the configuration is told all the same.
func TestNotifyFormerSpool(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("mail", "") // a file in the sink's place: delivery has to wait
	s.writeUsers("")
	text := s.caddyfile(layout{msa: `
	queue {
		retry 300ms
		probe 300ms 1s
	}
	notify pipe sh -c "cat >> $DIR/heard" {
		on accepted delivered
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
	s.write("Caddyfile", text)
	s.run()
	trust := s.tlsConfig()
	send := func(subject string) string {
		return s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter(subject))
	}
	ids := []string{send("left")}
	s.logged(ids[0], "delivery deferred")
	if status, answer := s.load(strings.Replace(text, "spool file "+s.dir+"/spool", "spool file "+s.dir+"/other", 1)); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	ids = append(ids, send("new"))
	if err := os.Remove(filepath.Join(s.dir, "mail")); err != nil {
		t.Fatal(err)
	}
	awaitProbe(t, "both to be told", func() bool {
		all := heardBy(filepath.Join(s.dir, "heard"))
		return !slices.ContainsFunc(ids, func(id string) bool {
			return !slices.Equal(told(all, id), []string{"message.accepted", "message.delivered"})
		})
	})
	s.logged("a former configuration's spool is empty and is closed")
}

// Of two nodes on one database one tells; when it is killed the other goes on, and nothing is lost.
func TestNotifyNodes(t *testing.T) {
	t.Parallel()
	db := postgres.Start(t)
	dir := t.TempDir()
	heard := filepath.Join(dir, "heard")
	var nodes []*server
	for i := range 2 {
		s := newServer(t)
		s.writeUsers("")
		text := s.caddyfile(layout{msa: fmt.Sprintf(`
	notify pipe sh -c "cat >> %s" {
		name shared
		on accepted delivered
	}
	deliver maildir %s/mail/{msa.recipient.local}`, heard, dir)})
		s.write("Caddyfile", strings.Replace(text, "spool file "+s.dir+"/spool", fmt.Sprintf("spool postgres %s {\n\tnode n%d\n\tlease 10s\n\t}", db.DSN(), i), 1))
		s.run()
		nodes = append(nodes, s)
	}
	var ids []string
	send := func(s *server) {
		ids = append(ids, s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter(fmt.Sprint(len(ids)))))
	}
	complete := func() bool {
		all := heardBy(heard)
		return !slices.ContainsFunc(ids, func(id string) bool {
			return !slices.Equal(told(all, id), []string{"message.accepted", "message.delivered"})
		})
	}
	for range 5 {
		send(nodes[0])
		send(nodes[1])
	}
	await(t, "all to be told", complete)
	if all := heardBy(heard); len(all) != 2*len(ids) {
		t.Errorf("%d events of %d messages", len(all), len(ids))
	}
	active := -1
	await(t, "one that tells", func() bool {
		active = slices.IndexFunc(nodes, func(s *server) bool {
			_, answer := s.adminRequest(http.MethodGet, "/msa/notify", "")
			return strings.Contains(answer, `"active":true`)
		})
		return active >= 0
	})
	send(nodes[active])
	nodes[active].kill()
	for range 3 {
		send(nodes[1-active])
	}
	awaitProbe(t, "the other to tell", complete)
}
