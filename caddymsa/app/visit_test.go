package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// admit is a request's first step.
func (in *instance) admit() (running.Visitor, error) {
	in.t.Helper()
	srv, ok := running.Server[running.Submission]("main")
	if !ok {
		in.t.Fatal("there is no server")
	}
	return srv.Admit(&running.Client{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 5}, MakeRoom: func() {}})
}

// visit is a request that has logged in. It leaves with the test.
func (in *instance) visit(user string) running.Submitter {
	in.t.Helper()
	v, err := in.admit()
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(v.Leave)
	s, _, err := v.Login(context.Background(), "PLAIN", []byte("\x00"+user+"\x00secret"))
	if err != nil {
		in.t.Fatal(err)
	}
	return s
}

func envelopeTo(rcpts ...string) *smtpd.Envelope {
	return &smtpd.Envelope{Sender: "alice@example.org", Recipients: rcpts}
}

// put submits the letter.
func put(s running.Submitter, once *running.Once, rcpts ...string) (id string, err error) {
	d, err := s.Begin(context.Background(), envelopeTo(rcpts...), once)
	if err != nil {
		return "", err
	}
	if _, err := d.Write([]byte(letter)); err != nil {
		return "", err
	}
	r, err := d.Commit(context.Background())
	return r.ID, err
}

func replyCode(err error) int {
	if r, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return r.Code
	}
	return 0
}

// A request and a session leave the same behind, but for the protocol's word.
func TestVisit(t *testing.T) {
	in := newInstance(t)
	in.load()
	id, err := put(in.visit("alice@example.org"), nil, "bob@example.net")
	if err != nil {
		t.Fatal(err)
	}
	in.logged("message accepted", id, `"remote_ip":"192.0.2.7"`, `"user":"alice@example.org"`)
	got := in.arrived(1)[0]
	if !strings.HasPrefix(got.message, "Received: from [192.0.2.7]\r\n\tby msa.example.org id "+id+"\r\n\tfor <bob@example.net>;") || !strings.HasSuffix(got.message, letter) {
		t.Errorf("%q", got.message)
	}
	bySMTP := in.session().submit("bob@example.net")
	in.arrived(2)
	facts := make(map[string]*journal.Fact)
	if err := in.mail.spool.Facts(context.Background(), &journal.Query{What: []journal.Kind{journal.Accepted}}, func(f *journal.Fact) bool {
		facts[f.ID] = f
		return true
	}); err != nil {
		t.Fatal(err)
	}
	a, b := facts[id], facts[bySMTP]
	if a == nil || b == nil || a.User != b.User || a.Sender != b.Sender || a.Server != b.Server || a.Mechanism != b.Mechanism || len(a.Policies) != len(b.Policies) || a.Session == "" || a.RemoteIP != "192.0.2.7" {
		t.Errorf("%+v %+v\n%+v %+v", a, a.Submission, b, b.Submission)
	}
}

// What a request has kept for a while is in the spool's place, keeps that open, and is no message.
func TestVisitScratch(t *testing.T) {
	in := newInstance(t)
	in.load()
	v := in.visit("alice@example.org")
	if b := v.Bounds(); b.Size != 50<<20 || b.Header != 256<<10 || b.Patience != 3*time.Minute || b.Rate != 100 || b.Grace != time.Minute {
		t.Errorf("%+v", b)
	}
	s, err := v.Scratch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Write([]byte(letter)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r, err := s.Reader()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat(letter, 3) {
			t.Errorf("%q, %v", b, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	held := v.(*visit).inCharge().app.delivery.store
	if n := held.beingReceived(); n != 1 {
		t.Errorf("%d are being received", n)
	}
	s.Abort()
	s.Abort()
	if n, _, err := in.mail.spool.Size(context.Background()); n != 0 || err != nil || held.beingReceived() != 0 {
		t.Errorf("%d messages, %d being received, %v", n, held.beingReceived(), err)
	}
}

// Whatever of the spool panics: the request is refused, and the spool can be closed after it.
func TestScratchPanics(t *testing.T) {
	for at, moments := range map[string]int{"create": 0, "write": 1, "read": 2, "commit": 3} { // Abort is commit's
		in := newInstance(t)
		in.load()
		v := in.visit("alice@example.org").(*visit)
		b := &brittle{at: at}
		st := v.inCharge().app.delivery.store
		whole := st.spool
		st.spool = b
		reached := 0
		s, err := v.Scratch(context.Background())
		if err == nil {
			reached++
			_, err = s.Write([]byte(letter))
		}
		if err == nil {
			reached++
			var r io.ReadCloser
			if r, err = s.Reader(); err == nil {
				_, err = io.ReadAll(r)
			}
		}
		if err == nil {
			reached++
		}
		if s != nil {
			s.Abort()
		}
		st.spool = whole
		if reached != moments || (err == nil) != (at == "commit") || st.beingReceived() != 0 {
			t.Errorf("%s: %v after %d, %d being received", at, err, reached, st.beingReceived())
		}
	}
}

// Whatever module panics, and whenever: the request is refused, and the next one is served.
func TestVisitPanics(t *testing.T) {
	in := newInstance(t)
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	for _, moment := range []string{"sender", "recipient", "message"} {
		in.mail.change(func() {
			in.mail.policy = func(at string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
				if at == moment {
					panic("a bug at " + moment)
				}
				return nil
			}
		})
		if id, err := put(in.visit("alice@example.org"), nil, "bob@example.net"); replyCode(err) != 451 {
			t.Errorf("%s: %q, %v", moment, id, err)
		}
		in.logged("session ended by a panic", "a bug at "+moment)
		in.mail.change(func() { in.mail.policy = nil })
		if _, err := put(in.visit("alice@example.org"), nil, "bob@example.net"); err != nil {
			t.Errorf("after %s: %v", moment, err)
		}
	}
	in.arrived(3)
}

// A message that began before a reload is judged by what came, and its login by the backend's latest word.
func TestVisitAstride(t *testing.T) {
	in := newInstance(t)
	in.load()
	begin := func() running.Draft {
		t.Helper()
		d, err := in.visit("alice@example.org").Begin(context.Background(), envelopeTo("bob@example.net"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte(letter)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := begin()
	in.load(with("received", "no_client"))
	if _, err := d.Commit(context.Background()); err != nil {
		t.Error(err)
	}
	if got := in.arrived(1)[0].message; !strings.HasPrefix(got, "Received: by msa.example.org id ") {
		t.Errorf("%q", got)
	}
	d = begin()
	in.mail.change(func() { delete(in.mail.users, "alice@example.org"); in.mail.revision++ })
	in.load(with("received", "full"))
	if _, err := d.Commit(context.Background()); replyCode(err) != 421 {
		t.Error(err)
	}
	if err := in.visitErr(); replyCode(err) != 535 {
		t.Error(err)
	}
}

func (in *instance) visitErr() error {
	v, err := in.admit()
	if err != nil {
		return err
	}
	defer v.Leave()
	_, _, err = v.Login(context.Background(), "PLAIN", []byte("\x00alice@example.org\x00secret"))
	return err
}

// Requests are counted as connections are.
func TestVisitLimits(t *testing.T) {
	in := newInstance(t)
	in.load(with("limits", map[string]any{"connections": 1}))
	first, err := in.admit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.admit(); replyCode(err) != 421 {
		t.Error(err)
	}
	first.Leave()
	again, err := in.admit()
	if err != nil {
		t.Fatal(err)
	}
	again.Leave()
}

// Of one key of a user's one message is accepted, whoever is first.
func TestVisitOnce(t *testing.T) {
	in := newInstance(t)
	in.mail.change(func() { in.mail.users["bob@example.org"], in.mail.users["Alice@example.org"] = "secret", "secret" })
	in.load()
	sum := func() [32]byte { return [32]byte{7} }
	s := in.visit("alice@example.org")
	first, release, ok, err := s.Earlier(context.Background(), "k")
	if first != nil || !ok || err != nil {
		t.Fatal(first, ok, err)
	}
	if _, _, ok, err := in.visit("Alice@example.org").Earlier(context.Background(), "k"); ok || err != nil {
		t.Error("it is under way", err)
	}
	if _, release, ok, _ := in.visit("bob@example.org").Earlier(context.Background(), "k"); !ok {
		t.Error("somebody else's key is under way")
	} else {
		release()
	}
	id, err := put(s, &running.Once{Key: "k", Sum: sum}, "bob@example.net")
	if err != nil {
		t.Fatal(err)
	}
	release()
	again, release, ok, err := in.visit("alice@example.org").Earlier(context.Background(), "k")
	if err != nil || !ok || again == nil || again.ID != id || again.Sum != sum() {
		t.Fatal(again, ok, err)
	}
	release()
	if first, release, _, _ := in.visit("bob@example.org").Earlier(context.Background(), "k"); first != nil {
		t.Error("bob has alice's key")
	} else {
		release()
	}
	// Another node does not know what is under way here: the spool does.
	var ids sync.Map
	var all sync.WaitGroup
	for range 8 {
		s := in.visit("alice@example.org")
		all.Go(func() {
			if id, err := put(s, &running.Once{Key: "l", Sum: sum}, "bob@example.net"); err != nil {
				t.Error(err)
			} else {
				ids.Store(id, true)
			}
		})
	}
	all.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one key is %d messages", n)
	}
	// What another node has accepted with the key meanwhile was another message: this one is nowhere.
	if _, err := put(in.visit("alice@example.org"), &running.Once{Key: "l", Sum: func() [32]byte { return [32]byte{8} }}, "bob@example.net"); replyCode(err) != 554 {
		t.Error("another message is said to be accepted:", err)
	}
	in.load(withAppField("journal", map[string]any{"off": true}))
	if _, _, _, err := in.visit("alice@example.org").Earlier(context.Background(), "k"); replyCode(err) != 554 {
		t.Error(err)
	}
}

// What is delivered while the client waits has no commit that remembers its key: facts of it are written later, or not at all
// where there are too many.
func TestVisitOnceUnqueued(t *testing.T) {
	in := newInstance(t)
	in.mail.change(func() { in.mail.users["bob@example.org"] = "secret" })
	in.load(withAppField("journal", map[string]any{"max_size": 1 << 20}),
		with("routes", []any{map[string]any{"name": "now", "sink": in.fake("now"), "unqueued": map[string]any{}}}))
	s := in.visit("alice@example.org")
	for n := range 40 {
		key, sum := fmt.Sprint("unqueued ", n), [32]byte{byte(n)}
		id, err := put(s, &running.Once{Key: key, Sum: func() [32]byte { return sum }}, "bob@example.net")
		if err != nil {
			t.Fatal(err)
		}
		first, release, ok, err := s.Earlier(context.Background(), key)
		if err != nil || !ok || first == nil || first.ID != id || first.Sum != sum {
			t.Fatalf("message %d: %+v %v, %v", n, first, ok, err)
		}
		release()
		if m, err := s.Message(context.Background(), id); err != nil || m.State != running.Delivered || m.Sender != "alice@example.org" || m.Size == 0 || len(m.Recipients) != 1 || m.Recipients[0].Time.IsZero() {
			t.Fatalf("message %d: %+v, %v", n, m, err)
		}
		if _, err := in.visit("bob@example.org").Message(context.Background(), id); !errors.Is(err, running.ErrNoMessage) {
			t.Errorf("message %d is bob's: %v", n, err)
		}
	}
}

// Users hear of their own messages only, and take back what waits.
func TestVisitOwn(t *testing.T) {
	in := newInstance(t)
	in.mail.change(func() { in.mail.users["bob@example.org"] = "secret" })
	var fail atomic.Bool
	fail.Store(true)
	in.mail.change(func() {
		in.mail.sink = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
			if fail.Load() && strings.HasPrefix(r.Address, "later") {
				return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "Mailbox full"}
			}
			if strings.HasPrefix(r.Address, "inner") {
				return errors.New("open /var/secret: no such file")
			}
			return nil
		}
	})
	in.load()
	alice, bob := in.visit("alice@example.org"), in.visit("bob@example.org")
	id := in.session().submit("now@example.net", "later@example.net", "inner@example.net") // by SMTP: it is alice's all the same
	var m *running.Message
	in.await("two delays", func() bool {
		var err error
		if m, err = alice.Message(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		for i, want := range []running.State{running.Delivered, running.Deferred, running.Deferred} {
			if r := &m.Recipients[i]; r.State != want || r.Time.IsZero() { // what is told of it comes from the journal
				return false
			}
		}
		return true
	})
	if m.State != running.Deferred || m.Recipients[1].Text != "452 4.2.2 Mailbox full" && m.Recipients[1].Text != "Mailbox full" || m.Recipients[1].Status != "4.2.2" || m.Recipients[2].Text != "" {
		t.Errorf("%+v", m)
	}
	for _, other := range []string{id, "0000000000000000", ""} {
		if _, err := bob.Message(context.Background(), other); !errors.Is(err, running.ErrNoMessage) {
			t.Errorf("%q: %v", other, err)
		}
		if _, err := bob.TakeBack(context.Background(), other); !errors.Is(err, running.ErrNoMessage) {
			t.Errorf("%q: %v", other, err)
		}
	}
	in.await("no attempt under way", func() bool {
		v, err := in.mail.spool.Get(context.Background(), id)
		return err == nil && v.InFlight() == 0
	})
	m, err := alice.TakeBack(context.Background(), id)
	if err != nil || m.State != running.TakenBack || m.Recipients[0].State != running.Delivered || m.Recipients[1].State != running.TakenBack {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err = alice.Message(context.Background(), id); err != nil || m.State != running.TakenBack || m.Recipients[0].State != running.Delivered || m.Recipients[2].State != running.TakenBack {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := alice.TakeBack(context.Background(), id); !errors.Is(err, running.ErrTooLate) {
		t.Error(err)
	}
	in.logged("message taken back", id, "later@example.net")
}

// The process does not end under a request, and takes none when it ends.
func TestRequests(t *testing.T) {
	r := &requests{empty: make(chan struct{})}
	for range 2 {
		if !r.begin() {
			t.Fatal("it takes none")
		}
	}
	r.end()
	r.stop()
	r.stop()
	if r.begin() {
		t.Error("it takes one after stop")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.wait(ctx)
	select {
	case <-r.empty:
		t.Error("one is left")
	default:
	}
	r.end()
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r.wait(ctx)
	if ctx.Err() != nil {
		t.Error("none is left, and it waits")
	}
}
