package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// objectLock is gofakes3 in this process, which can be switched off, and what it was asked to lock.
type objectLock struct {
	url     string
	backend *s3mem.Backend
	down    atomic.Bool

	mu    sync.Mutex
	locks map[string]http.Header // by the object's name
}

func startObjectLock(t *testing.T) *objectLock {
	t.Helper()
	l := &objectLock{backend: s3mem.New(), locks: make(map[string]http.Header)}
	if err := l.backend.CreateBucket(t.Context(), "archive"); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(l.backend, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret-key"})).Server()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodPut {
			l.mu.Lock()
			l.locks[strings.TrimPrefix(r.URL.Path, "/archive/")] = r.Header.Clone()
			l.mu.Unlock()
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	l.url = srv.URL
	return l
}

// objects are those with a suffix, by their names.
func (l *objectLock) objects(t *testing.T, suffix string) map[string][]byte {
	t.Helper()
	list, err := l.backend.ListBucket(t.Context(), "archive", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, c := range list.Contents {
		if !strings.HasSuffix(c.Key, suffix) {
			continue
		}
		o, err := l.backend.GetObject(t.Context(), "archive", c.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if all[c.Key], err = io.ReadAll(o.Contents); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Copies go to an object store that is down, to a Dovecot that was stopped, to a disk that is full and to a hop that is not
// there: meanwhile messages are delivered as ever and no sender hears of anything, the server is killed when they were
// delivered and no copy was, and each copy comes when its sink is back, with the octets that were delivered.
func TestCopiesTroubled(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, spool := range []string{"file", "postgres"} {
		t.Run(spool, func(t *testing.T) {
			t.Parallel()
			testCopiesTroubled(t, spool)
		})
	}
}

func testCopiesTroubled(t *testing.T, spool string) {
	const messages = 12
	dovecot, pop3 := dovecotLMTP(t)
	store := startObjectLock(t)
	s := newServer(t)
	s.writeUsers("")
	s.write("s3key", "s3cret-key")
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		installed.Lack(t, "(mounting a tmpfs)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	absent := freeAddress(t)
	text := s.caddyfile(layout{msa: `
	copy s3 ` + store.url + ` archive {
		name       archive
		access_key msa
		secret_key {file.$DIR/s3key}
		path_style
		retain     compliance 3650d
		legal_hold
	}
	copy lmtp unix/` + dovecot.socket + ` {
		name store
		to   bob@example.net
		connect_timeout 10s
		timeout     10s
		end_timeout 10s
	}
	copy directory $DIR/disk/copies {
		name disk
		queue {
			retry 500ms
		}
	}
	copy relay ` + absent + ` {
		name journal
		to   archive@example.com
		tls  off
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		workers 8
		retry   500ms
		probe   500ms 1s
		warn    1s
	}`})
	if spool == "postgres" {
		text = strings.Replace(text, "spool file "+s.dir+"/spool", "spool postgres "+postgres.Start(t).DSN(), 1)
	}
	s.write("Caddyfile", text)
	s.run()
	trust := s.tlsConfig()

	if err := os.MkdirAll(filepath.Join(disk, "copies"), 0o700); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "somebody")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("there was room")
	}
	dovecot.signal(syscall.SIGSTOP)
	store.down.Store(true)

	octets := func(n int) string {
		return fmt.Sprintf("From: alice@example.org\r\nSubject: copy %d\r\n\r\n..dots\r\n.\xe9\xff\r\n%s\r\n\r\n", n, strings.Repeat("long ", 150))
	}
	var slowest time.Duration
	var ids []string
	for n := range messages {
		began := time.Now()
		ids = append(ids, s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", octets(n)))
		s.mail("bob@example.net", n+1)
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest message took %v, from its connection to its delivery, beside four copies in trouble", slowest.Round(time.Millisecond))
	for _, sink := range []string{"archive", "store", "disk", "journal"} {
		s.logged("copy deferred", `"copy":"`+sink+`"`)
	}
	delivered := make(map[string][]byte) // by subject
	for _, m := range s.mail("bob@example.net", messages) {
		delivered[subject(m)] = m
	}
	s.kill()
	s.run()
	if _, show := s.adminRequest(http.MethodGet, "/msa/queue/"+ids[0], ""); strings.Count(show, `{"name":"`) != 4 || strings.Count(show, `"state":"delivered"`) != 1 {
		t.Errorf("the first message after the crash: %s", show)
	}

	dovecot.signal(syscall.SIGCONT)
	store.down.Store(false)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	journal := hoptest.New(t, func(h *hoptest.Hop) { h.At, h.TLS = absent, nil })
	awaitProbe(t, "the end of the queue", func() bool {
		_, answer := s.adminRequest(http.MethodGet, "/msa/queue", "")
		var page struct{ Entries []json.RawMessage }
		return json.Unmarshal([]byte(answer), &page) == nil && len(page.Entries) == 0
	})

	same := func(what string, messages map[string][]byte) {
		t.Helper()
		for subject, m := range delivered {
			if !bytes.HasSuffix(m, messages[subject]) || !bytes.HasSuffix(messages[subject], []byte("..dots\r\n.\xe9\xff\r\n"+strings.Repeat("long ", 150)+"\r\n\r\n")) {
				t.Errorf("%s has of %q\n%q\nand delivered was\n%q", what, subject, messages[subject], m)
			}
		}
	}
	inStore, onDisk := make(map[string][]byte), make(map[string][]byte)
	objects := store.objects(t, ".eml")
	for name, m := range objects {
		inStore[subject(m)] = m
		h := store.locks[name]
		until, err := time.Parse(time.RFC3339, h.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil || h.Get("X-Amz-Object-Lock-Mode") != "COMPLIANCE" || h.Get("X-Amz-Object-Lock-Legal-Hold") != "ON" || time.Until(until) < 3649*24*time.Hour {
			t.Errorf("%s was stored with %v", name, h)
		}
	}
	same("the object store", inStore)
	for name, e := range store.objects(t, ".json") {
		var envelope struct {
			Copy, Sender string
			Recipients   []struct{ Address string }
		}
		if json.Unmarshal(e, &envelope) != nil || envelope.Copy != "archive" || envelope.Sender != "alice@example.org" || len(envelope.Recipients) != 1 || envelope.Recipients[0].Address != "bob@example.net" {
			t.Errorf("%s: %s", name, e)
		}
	}
	names, _ := filepath.Glob(filepath.Join(disk, "copies", "*.eml"))
	for _, name := range names {
		if m, err := os.ReadFile(name); err == nil {
			onDisk[subject(m)] = m
		}
	}
	same("the disk", onDisk)
	for subject, m := range inStore {
		if sha256.Sum256(m) != sha256.Sum256(onDisk[subject]) {
			t.Errorf("%s: the copies differ", subject)
		}
	}
	if len(objects) != messages || len(names) != messages {
		t.Errorf("%d objects and %d files of %d messages", len(objects), len(names), messages)
	}
	curl := need(t, "curl")
	inDovecot := make(map[string][]byte)
	for n := 1; ; n++ {
		m, err := exec.Command(curl, "-s", "--max-time", "60", "-u", "bob@example.net:secret", fmt.Sprintf("pop3://%s/%d", pop3, n)).Output()
		if err != nil || len(m) == 0 {
			break
		}
		_, m, _ = bytes.Cut(m, []byte("\r\nReceived: from "+"client")) // Dovecot's own fields come before ours
		inDovecot[subject(m)] = m
	}
	if len(inDovecot) != messages {
		t.Errorf("Dovecot has %d of %d", len(inDovecot), messages)
	}
	for n := range messages {
		want := fmt.Sprintf("copy %d", n)
		if m := inDovecot[want]; !bytes.HasSuffix(delivered[want], m) || len(m) < 700 {
			t.Errorf("Dovecot has of %s\n%q", want, m)
		}
	}
	if all := journal.Messages(); len(all) < messages {
		t.Errorf("the journal has %d of %d", len(all), messages)
	}
	for _, line := range journal.Said("RCPT") {
		if line != "RCPT TO:<archive@example.com> NOTIFY=NEVER" {
			t.Error(line)
		}
	}
	if notifications, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.org/alice/new/*")); len(notifications) > 0 {
		t.Error("the sender was sent a notification")
	}
	if again, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.net/bob/new/*")); len(again) != messages {
		t.Errorf("%d of %d were delivered", len(again), messages)
	}
}

// Postfix gets a copy of everything for one mailbox, as its own always_bcc would; a mailbox that it refuses is told of
// to the operator and to nobody else.
func TestCopyBcc(t *testing.T) {
	t.Parallel()
	p := startPostfix(t)
	relay := func(name, to string) string {
		return `
	copy relay ` + p.address + ` {
		name ` + name + `
		to   ` + to + `
		server_name ` + postfixName + `
		ca ` + p.certificate() + `
		auth ` + postfixUser + ` {env.RELAY_PASSWORD}
	}`
	}
	s := start(t, layout{msa: relay("bcc", "bob@example.net") + relay("wrong", "nobody@example.net") + `
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
	message := "From: alice@example.org\r\nTo: carol@example.com\r\nSubject: bcc\r\n\r\n..dots\r\n" + strings.Repeat("long ", 150) + "\r\n"
	id := s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "carol@example.com", message)
	if got := s.mail("carol@example.com", 1)[0]; !bytes.Equal(untraced(t, got), []byte(message)) {
		t.Errorf("delivered:\n%s", got)
	}
	if got := p.mail(1)[0]; !bytes.Equal(submitted(got), []byte(message)) || !bytes.HasPrefix(got, []byte("Return-Path: <alice@example.org>\n")) {
		t.Errorf("copied:\n%s", got)
	}
	if line := s.logged(id, "copy failed", `"copy":"wrong"`); !strings.Contains(line, `"level":"error"`) || !strings.Contains(line, "5.1.1") {
		t.Error(line)
	}
	s.await("the end of the queue", func() bool {
		status, _ := s.adminRequest(http.MethodGet, "/msa/queue/"+id, "")
		return status == http.StatusNotFound
	})
	if strings.Contains(s.log.String(), "sender told") {
		t.Error("the sender was told")
	}
}
