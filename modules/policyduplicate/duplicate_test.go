package policyduplicate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func open(t testing.TB, p *Duplicate) *Duplicate {
	t.Helper()
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func fresh(t testing.TB) *Duplicate {
	t.Helper()
	p := open(t, &Duplicate{File: filepath.Join(t.TempDir(), "seen")})
	t.Cleanup(func() { _ = p.Cleanup() })
	return p
}

const body = "Subject: x\r\n\r\nbody\r\n"

func submission(change func(e *queue.Entry)) *caddymsa.Submission {
	s := msatest.NewSubmission("alice", "alice@example.org")
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net", Notify: []string{"FAILURE", "DELAY"}}, {Address: "carol@example.net"}}
	if change != nil {
		change(s.Entry)
	}
	return s
}

// before is the id that a submission is known by, after which it is over.
func before(t testing.TB, p *Duplicate, id, octets string, change func(e *queue.Entry), accepted bool) string {
	t.Helper()
	s := submission(change)
	s.Entry.ID = id
	err := p.CheckMessage(context.Background(), s, msatest.NewMessage(octets))
	s.End(err == nil && accepted)
	if known, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); ok {
		return known.ID
	}
	if err != nil {
		t.Fatal(err)
	}
	return ""
}

func TestDuplicate(t *testing.T) {
	p := fresh(t)
	if id := before(t, p, "Q0", body, nil, false); id != "" {
		t.Fatal(id)
	}
	if id := before(t, p, "Q1", body, nil, true); id != "" {
		t.Errorf("one that was refused counts: %s", id)
	}
	if id := before(t, p, "Q2", body, nil, true); id != "Q1" {
		t.Errorf("the second is %q", id)
	}
	same := func(e *queue.Entry) {
		e.Recipients[0], e.Recipients[1] = e.Recipients[1], e.Recipients[0]
		e.Recipients[1].Notify = []string{"DELAY", "FAILURE"}
		e.Session, e.RemoteIP, e.Helo = "other", "198.51.100.1", "other"
	}
	if id := before(t, p, "Q3", body, same, true); id != "Q1" {
		t.Errorf("another order, another session: %q", id)
	}
	for name, change := range map[string]func(e *queue.Entry){
		"user": func(e *queue.Entry) { e.User = "bob" }, "sender": func(e *queue.Entry) { e.Sender = "" }, "server": func(e *queue.Entry) { e.Server = "other" },
		"recipient more": func(e *queue.Entry) {
			e.Recipients = append(e.Recipients, queue.Recipient{Address: "dave@example.net"})
		},
		"recipient less": func(e *queue.Entry) { e.Recipients = e.Recipients[:1] }, "spelling": func(e *queue.Entry) { e.Recipients[0].Address = "Bob@example.net" },
		"notify": func(e *queue.Entry) { e.Recipients[0].Notify = nil }, "orcpt": func(e *queue.Entry) { e.Recipients[0].ORCPT = "rfc822;x" },
		"envid": func(e *queue.Entry) { e.EnvelopeID = "1" }, "ret": func(e *queue.Entry) { e.Return = "FULL" }, "body": func(e *queue.Entry) { e.Body = "8BITMIME" }, "utf8": func(e *queue.Entry) { e.SMTPUTF8 = true },
		"priority": func(e *queue.Entry) { e.Priority = 1 },
	} {
		if id := before(t, p, "Q-"+name, body, change, true); id != "" {
			t.Errorf("%s: another submission is taken for %s", name, id)
		}
	}
	if id := before(t, p, "Q4", body+".", nil, true); id != "" {
		t.Error("an octet more is the same")
	}
	p.now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	if id := before(t, p, "Q5", body, nil, true); id != "" {
		t.Errorf("after the window: %s", id)
	}
	if id := before(t, p, "Q6", body, nil, true); id != "Q5" {
		t.Errorf("then: %s", id)
	}
}

// Two at the same time: one is accepted, the other has its id; if it fails, the other is accepted.
func TestTogether(t *testing.T) {
	p := fresh(t)
	var accepted, known atomic.Int32
	var working sync.WaitGroup
	for i := range 50 {
		working.Go(func() {
			s := submission(nil)
			s.Entry.ID = fmt.Sprintf("Q%02d", i)
			err := p.CheckMessage(context.Background(), s, msatest.NewMessage(body))
			if errors.As(err, new(*caddymsa.AlreadyAccepted)) {
				known.Add(1)
				return
			}
			if i%2 == 0 {
				accepted.Add(1)
			}
			s.End(i%2 == 0)
		})
	}
	working.Wait()
	if accepted.Load() != 1 || accepted.Load()+known.Load() > 50 {
		t.Errorf("%d accepted, %d known", accepted.Load(), known.Load())
	}
	// One that waits gives up with its context.
	s := submission(func(e *queue.Entry) { e.User = "waits" })
	if err := p.CheckMessage(context.Background(), s, msatest.NewMessage(body)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.CheckMessage(ctx, submission(func(e *queue.Entry) { e.User = "waits" }), msatest.NewMessage(body)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.End(false)
}

// A restart remembers, a damaged journal loses only what is damaged.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seen")
	p := open(t, &Duplicate{File: file})
	for i := range 5 {
		before(t, p, fmt.Sprintf("Q%d", i), fmt.Sprint(body, i), nil, true)
	}
	again := open(t, &Duplicate{File: file, MaxEntries: 10}) // a reload, while the other is there
	if id := before(t, again, "Q9", body+"1", nil, true); id != "Q1" {
		t.Errorf("after a reload %q", id)
	}
	_, _ = p.Cleanup(), again.Cleanup()
	b, err := os.ReadFile(file)
	if err != nil || bytes.Count(b, []byte(" Q")) != 5 {
		t.Fatalf("%s, %v", b, err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	lines[1] = strings.Replace(lines[1], " Q1", " Q7", 1)
	damaged := strings.Repeat("\x00", 10_000) + "\n" + strings.Join(lines, "")
	if err := os.WriteFile(file, []byte(damaged[:len(damaged)-3]), 0o600); err != nil {
		t.Fatal(err)
	}
	p = open(t, &Duplicate{File: file})
	defer p.Cleanup()
	for i, want := range []string{"Q0", "", "Q2", "Q3", ""} {
		if id := before(t, p, "new", fmt.Sprint(body, i), nil, false); id != want {
			t.Errorf("message %d is known as %q, want %q", i, id, want)
		}
	}
}

// Who merely tries a configuration leaves no file behind, which the server's user might not be able to open.
func TestTried(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seen")
	if err := open(t, &Duplicate{File: file}).Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = open(t, &Duplicate{File: file}).Cleanup()
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestBounded(t *testing.T) {
	p := open(t, &Duplicate{File: filepath.Join(t.TempDir(), "seen"), MaxEntries: 100})
	defer p.Cleanup()
	for i := range 5000 {
		before(t, p, fmt.Sprintf("Q%d", i), fmt.Sprint(i), nil, true)
	}
	if len(p.memory.seen) != 100 || len(p.memory.order) != 100 {
		t.Errorf("%d remembered, %d in order", len(p.memory.seen), len(p.memory.order))
	}
	for _, name := range []string{"seen", "seen.old"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(p.File), name))
		if n := bytes.Count(b, []byte("\n")); err != nil || n == 0 || n > 101 {
			t.Errorf("%s has %d lines, %v", name, n, err)
		}
	}
	if id := before(t, p, "x", "4999", nil, true); id != "Q4999" {
		t.Errorf("the last is %q", id)
	}
}

// What two of these policies see of one submission is one submission.
func TestTwoPolicies(t *testing.T) {
	p := fresh(t)
	other := open(t, &Duplicate{File: p.File})
	defer other.Cleanup()
	s := submission(nil)
	for _, p := range []*Duplicate{p, other} {
		if err := p.CheckMessage(context.Background(), s, msatest.NewMessage(body)); err != nil {
			t.Fatal(err)
		}
	}
	s.End(true)
	if id := before(t, other, "Q2", body, nil, true); id != s.Entry.ID {
		t.Error(id)
	}
}

// The second of two does not wait without end.
func TestSlow(t *testing.T) {
	p := fresh(t)
	synctest.Test(t, func(t *testing.T) {
		p.memory.pending = make(map[sum]chan struct{}) // channels of the bubble
		if err := p.CheckMessage(context.Background(), submission(nil), msatest.NewMessage(body)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := p.CheckMessage(context.Background(), submission(nil), msatest.NewMessage(body))
		if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || r.Code != 451 || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What came again after its window is as young as it says.
func TestAgainAfterWindow(t *testing.T) {
	p := open(t, &Duplicate{MaxEntries: 3})
	defer p.Cleanup()
	now := time.Now()
	p.now = func() time.Time { return now }
	p.memory.window = 24 * time.Hour // somebody else's
	for i, octets := range []string{"1", "2", "3"} {
		before(t, p, fmt.Sprintf("Q%d", i), octets, nil, true)
		now = now.Add(time.Minute)
	}
	now = now.Add(time.Hour)
	if id := before(t, p, "Q9", "1", nil, true); id != "" {
		t.Fatal(id)
	}
	before(t, p, "Q10", "4", nil, true)
	if id := before(t, p, "x", "1", nil, true); id != "Q9" {
		t.Errorf("known as %q", id)
	}
}

// What is older than the window takes no memory.
func TestForgotten(t *testing.T) {
	p := open(t, &Duplicate{Window: conf.Duration(time.Minute)})
	defer p.Cleanup()
	now := time.Now()
	p.now = func() time.Time { return now }
	for i := range 100 {
		before(t, p, "Q", fmt.Sprint(i), nil, true)
		now = now.Add(time.Second)
	}
	if n := len(p.memory.seen); n != 61 {
		t.Errorf("%d remembered", n)
	}
}

// A process that tries the configuration takes nothing from the one that serves.
func TestBeside(t *testing.T) {
	p := fresh(t)
	before(t, p, "Q1", "1", nil, true)
	tries := newMemory(p.File)
	if err := errors.Join(tries.open(&sharer{time.Hour, 1, zap.NewNop()}, time.Now()), tries.Close()); err != nil {
		t.Fatal(err)
	}
	before(t, p, "Q2", "2", nil, true)
	_ = p.Cleanup()
	p = open(t, &Duplicate{File: p.File})
	defer p.Cleanup()
	for i, octets := range []string{"1", "2"} {
		if id := before(t, p, "x", octets, nil, false); id != fmt.Sprint("Q", i+1) {
			t.Errorf("message %d is known as %q", i+1, id)
		}
	}
}

// A configuration that does not come into force has nothing forgotten, and what it says counts no longer.
func TestFailedReload(t *testing.T) {
	p := open(t, &Duplicate{MaxEntries: 3})
	defer p.Cleanup()
	log := p.memory.log
	for i := range 3 {
		before(t, p, fmt.Sprint("Q", i), fmt.Sprint(i), nil, true)
	}
	failed := open(t, &Duplicate{MaxEntries: 1, Window: conf.Duration(24 * time.Hour)})
	before(t, p, "Q3", "3", nil, true)
	_ = failed.Cleanup()
	before(t, p, "Q4", "4", nil, true)
	for i := 2; i <= 4; i++ {
		if id := before(t, p, "x", fmt.Sprint(i), nil, false); id != fmt.Sprint("Q", i) {
			t.Errorf("message %d is known as %q", i, id)
		}
	}
	if m := p.memory; m.limit != 3 || m.window != time.Hour || m.log != log {
		t.Errorf("%d entries, %v", m.limit, m.window)
	}
}

// The journal turns when it is full or older than the window, and what counts is there at every time.
func TestTurn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seen")
	now := time.Now()
	for i := range 50 {
		p := open(t, &Duplicate{File: file, MaxEntries: 7, Window: conf.Duration(time.Minute)})
		p.now = func() time.Time { return now }
		if i >= 7 {
			for n := i - 7; n < i; n++ {
				if id := before(t, p, "x", fmt.Sprint(n), nil, false); id != fmt.Sprint("Q", n) {
					t.Fatalf("at %d, %d is known as %q", i, n, id)
				}
			}
		}
		before(t, p, fmt.Sprint("Q", i), fmt.Sprint(i), nil, true)
		_ = p.Cleanup()
		now = now.Add(time.Second)
	}
	now = now.Add(time.Hour)
	p := open(t, &Duplicate{File: file, Window: conf.Duration(time.Minute)})
	defer p.Cleanup()
	p.now = func() time.Time { return now }
	before(t, p, "last", "last", nil, true)
	if b, err := os.ReadFile(file); err != nil || bytes.Count(b, []byte("\n")) != 1 {
		t.Errorf("%s, %v", b, err)
	}
}

// A disk that fails costs the memory of a restart, and only of what was written meanwhile.
func TestBrokenDisk(t *testing.T) {
	p := fresh(t)
	before(t, p, "Q1", "1", nil, true)
	_ = p.memory.journal.Close()
	if id := before(t, p, "Q2", "2", nil, true); id != "" {
		t.Error(id)
	}
	if id := before(t, p, "x", "2", nil, true); id != "Q2" {
		t.Errorf("known as %q", id)
	}
	if err := p.memory.append(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.memory.journal.WriteString("0000") // half a line
	p.memory.torn = true
	before(t, p, "Q3", "3", nil, true)
	_ = p.Cleanup()
	p = open(t, &Duplicate{File: p.File})
	defer p.Cleanup()
	for i, want := range []string{"Q1", "", "Q3"} {
		if id := before(t, p, "x", fmt.Sprint(i+1), nil, false); id != want {
			t.Errorf("message %d is known as %q, want %q", i+1, id, want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	var p Duplicate
	err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("duplicate {\nwindow 2h\nmax_entries 5\nfile seen\n}"))
	if err != nil || p.Window != conf.Duration(2*time.Hour) || p.MaxEntries != 5 || p.File != "seen" {
		t.Errorf("%+v, %v", p, err)
	}
	for text, want := range map[string]string{
		"duplicate 1h": `unexpected "1h"`, "duplicate {\nwindow 0s\n}": `"0s" is not a duration above 0`, "duplicate {\nmax_entries 5k\n}": `"5k" is not a whole number above 0`,
		"duplicate {\nttl 5\n}": `unknown setting "ttl"; known settings: window, max_entries and file`,
	} {
		if err := new(Duplicate).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any { return fresh(t) }, msatest.PolicyCase{Name: "new"})
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*Duplicate{{Window: -1}, {MaxEntries: -1}, {File: "/nonexistent/dir/seen"}, {File: "{no.such}"}} {
		if err := p.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v: no error", p)
		}
		_ = p.Cleanup()
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(line(sum{1}, seen{"Q1", time.Unix(1, 0)})))
	f.Add([]byte("00000000 1 2 3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := readJournal(bytes.NewReader(b), func(s sum, v seen) {
			again, w, ok := parseLine(strings.TrimSuffix(line(s, v), "\n"))
			if !ok || again != s || w.id != v.id || !w.at.Equal(v.at) {
				t.Fatalf("%v %v became %v %v", s, v, again, w)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkDuplicate(b *testing.B) {
	p := open(b, &Duplicate{File: filepath.Join(b.TempDir(), "seen")})
	defer p.Cleanup()
	for _, size := range []int{4 << 10, 20 << 20} {
		octets := strings.Repeat("x", size)
		m := caddymsa.NewMessage(int64(size), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(octets)), nil })
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				s := submission(func(e *queue.Entry) { e.User = fmt.Sprint(n, size) })
				if err := p.CheckMessage(context.Background(), s, m); err != nil {
					b.Fatal(err)
				}
				s.End(true)
			}
		})
	}
}

// A spool that remembers is asked, and told what to remember in the commit: what another node accepted is known here.
func TestSharedSpool(t *testing.T) {
	p := fresh(t)
	check := func(id string, err error) (*caddymsa.Submission, error) {
		s := submission(nil)
		s.Before = func(context.Context, [32]byte) (string, error) { return id, err }
		got := p.CheckMessage(context.Background(), s, msatest.NewMessage(body))
		s.End(false)
		return s, got
	}
	s, err := check("", nil)
	if err != nil || s.Once == nil || s.Once.Keep != time.Hour {
		t.Fatalf("%+v, %v", s.Once, err)
	}
	first := s.Once.Digest
	_, err = check("Q-of-another-node", nil)
	if known, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); !ok || known.ID != "Q-of-another-node" {
		t.Fatal(err)
	}
	away := errors.New("the database is away")
	if _, err := check("", away); !errors.Is(err, away) {
		t.Fatal(err)
	}
	// None of these holds up the next, and the same message has the same digest.
	if s, err := check("", nil); err != nil || s.Once == nil || s.Once.Digest != first {
		t.Fatalf("%+v, %v", s.Once, err)
	}
}
