package integration

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// killedMoves moves all from one spool to another by the command, which is killed again and again in the midst of it: whenever the
// number of messages in the database has changed.
func (s *server) killedMoves(srv *postgres.Server, table, from, to string) {
	s.t.Helper()
	count := func() int64 { return srv.Exec(s.t, "SELECT 1 FROM "+table) }
	for range 6 {
		cmd := exec.Command(binary, "msa", "spool", "move", from, to, "--address", s.admin)
		cmd.Env = append(os.Environ(), "HOME="+s.dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		before := count()
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		s.await("a message that is moved", func() bool {
			select {
			case <-ended: // it was quicker than we are
				return true
			default:
				return count() != before
			}
		})
		_ = cmd.Process.Kill()
		<-ended
	}
	s.mustMSA("spool", "move", from, to)
	if out := s.mustMSA("spool", "move", from, to); !strings.Contains(out, "0 messages moved") {
		s.t.Error(out)
	}
}

// A move that is killed at any moment goes on where it was, into a database with large messages in S3 and out of it: nothing is lost and nothing delivered twice.
func TestSpoolMoveKilled(t *testing.T) {
	t.Parallel()
	const messages = 120
	srv := postgres.Start(t)
	srv.Exec(t, "CREATE SCHEMA mail") // the tables are made by the first move
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "queue"); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret-key"})).Server())
	t.Cleanup(store.Close)
	s := newServer(t)
	s.writeUsers("")
	s.write("s3-secret", "s3cret-key")
	database := fmt.Sprintf(`postgres %s {
	schema mail
	bodies s3 %s queue {
		over 10KiB
		access_key msa
		secret_key {file.%s/s3-secret}
		insecure_plaintext
		path_style
	}
}`, srv.DSN(), store.URL, s.dir)
	file, young := "file:"+s.dir+"/spool", "file:"+s.dir+"/young"
	configuration := func(spool, route string) string {
		text := s.caddyfile(layout{msa: "\n\tdeliver " + route + "\n\tqueue {\n\t\tretry 1h\n\t}"})
		was := "spool file " + s.dir + "/spool"
		if !strings.Contains(text, was) {
			t.Fatal("the configuration has no spool to replace")
		}
		return strings.Replace(text, was, "spool "+spool, 1)
	}
	s.write("Caddyfile", configuration("file "+s.dir+"/spool", `pipe /bin/sh -c "exit 75"`))
	s.run()
	trust := s.tlsConfig()
	var ids []string
	for i := range messages {
		text := letter(fmt.Sprintf("number %d", i))
		if i%10 == 0 {
			text += strings.Repeat(strings.Repeat("x", 70)+"\r\n", 300)
		}
		ids = append(ids, s.mustSend(trust, "alice@example.org", "alice@example.org", fmt.Sprintf("bob%d@example.net", i), text))
	}
	s.stop()

	// A database without tables has no messages, and is no reason to make a spool of it.
	s.mustMSA("spool", "move", database, young)
	s.killedMoves(srv, "mail.msa_entry", file, database)
	if n := srv.Exec(t, "SELECT 1 FROM mail.msa_entry"); n != messages {
		t.Errorf("%d of %d messages are in the database", n, messages)
	}
	list, err := backend.ListBucket(context.Background(), "queue", nil, gofakes3.ListBucketPage{})
	if err != nil || len(list.Contents) < messages/10 { // and orphans of processes that were killed
		t.Errorf("%d objects, %v", len(list.Contents), err)
	}

	// The server has the database open: the command moves beside it.
	s.write("Caddyfile", configuration(database, `pipe /bin/sh -c "exit 75"`))
	s.run()
	s.killedMoves(srv, "mail.msa_entry", database, young)
	if n := srv.Exec(t, "SELECT 1 FROM mail.msa_entry"); n != 0 {
		t.Errorf("%d messages are left in the database", n)
	}
	s.stop()

	s.write("Caddyfile", configuration("file "+s.dir+"/young", "maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}"))
	s.run()
	_, _ = s.msa("queue", "retry", "--all") // of some that have left by then it says so
	for i := range messages {
		if got := s.mail(fmt.Sprintf("bob%d@example.net", i), 1); len(got) != 1 || i%10 == 0 && len(got[0]) < 20_000 {
			t.Errorf("message %d: %d deliveries", i, len(got))
		}
	}
	s.await("the empty queue", func() bool {
		out := s.mustMSA("queue", "list")
		return !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(out, id) })
	})
	for i := range messages {
		if got := s.mail(fmt.Sprintf("bob%d@example.net", i), 1); len(got) != 1 {
			t.Errorf("message %d was delivered %d times", i, len(got))
		}
	}
}
