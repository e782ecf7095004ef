package sinknats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/natsclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var caddyContext = caddy.Context{Context: context.Background()}

// broker is nats-server in this process.
type broker struct {
	*server.Server
	t      testing.TB
	stream jetstream.Stream
}

func startServer(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.NoSigs, o.NoLog, o.JetStream = true, true, true
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	if o.Host == "" {
		o.Host, o.Port = "127.0.0.1", server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func newBroker(t testing.TB, set func(*server.Options)) *broker {
	t.Helper()
	o := &server.Options{MaxPayload: 8 << 20}
	if set != nil {
		set(o)
	}
	b := &broker{Server: startServer(t, o), t: t}
	conn, err := nats.Connect(b.ClientURL(), nats.UserInfo(o.Username, o.Password), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := patient()
	defer cancel()
	if b.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// patient is for questions of tests, which else wait for 5 seconds: not long on a busy machine.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*time.Minute)
}

// all are the stored messages.
func (b *broker) all() (messages []*jetstream.RawStreamMsg) {
	b.t.Helper()
	ctx, cancel := patient()
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := info.State.FirstSeq; i <= info.State.LastSeq && info.State.Msgs > 0; i++ {
		m, err := b.stream.GetMsg(ctx, i)
		if err != nil {
			b.t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func open(t testing.TB, s *NATS) *NATS {
	t.Helper()
	if s.Subject == "" {
		s.Subject = "mail.incoming"
	}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

func letter() *queue.Delivery {
	return msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bób@example.org", "carol@example.org")
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		b := newBroker(t, nil)
		return open(t, &NATS{Config: natsclient.Config{URLs: []string{b.ClientURL()}, Stream: "MAIL"}}), func() (all [][]byte) {
			for _, m := range b.all() {
				all = append(all, m.Data)
			}
			return all
		}
	})
}

// The header of a message in a stream has 64 KiB at most. More recipients go in several messages, and each in one.
func TestManyRecipients(t *testing.T) {
	b := newBroker(t, nil)
	s := open(t, &NATS{Config: natsclient.Config{URLs: []string{b.ClientURL()}, Stream: "MAIL"}})
	var to []string
	for i := range 1000 {
		to = append(to, fmt.Sprintf("recipient%d@%s.example.org", i, strings.Repeat("x", 50)))
	}
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), to...)
	for _, r := range d.Recipients {
		r.Notify, r.ORCPT = []string{"FAILURE", "DELAY"}, "rfc822;"+r.Address
	}
	for range 2 {
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]int)
	all := b.all()
	for _, m := range all {
		var e envelope.Envelope
		if err := json.Unmarshal([]byte(m.Header.Get("MSA-Envelope")), &e); err != nil || string(m.Data) != "x: y\r\n\r\n" || e.Key != m.Header.Get(nats.MsgIdHdr) {
			t.Errorf("%v, %v", m, err)
		}
		for _, r := range e.Recipients {
			seen[r.Address]++
		}
	}
	if len(all) < 2 || len(all) > 6 || len(seen) != 1000 {
		t.Errorf("%d messages to %d recipients", len(all), len(seen))
	}
	for r, n := range seen {
		if n != 1 {
			t.Errorf("%s: %d times", r, n)
		}
	}
	for _, r := range d.Recipients {
		if reported, err := d.Reported(r); !reported || err != nil || d.AnswerOf(r).Reply == "" {
			t.Fatalf("%s: %v, %v", r.Address, reported, err)
		}
	}
}

// A delivery that comes again is one message, and its envelope is beside it.
func TestEnvelope(t *testing.T) {
	b := newBroker(t, func(o *server.Options) { o.Username, o.Password = "msa", "s3cret" })
	t.Setenv("MSA_NATS", "s3cret")
	s := open(t, &NATS{Config: natsclient.Config{URLs: []string{"nats://" + b.Addr().String()}, Username: "msa", Password: "{env.MSA_NATS}"}})
	d := letter()
	for range 2 {
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	all := b.all()
	if len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	var e envelope.Envelope
	if err := json.Unmarshal([]byte(all[0].Header.Get("MSA-Envelope")), &e); err != nil || e.ID != d.Entry.ID || e.Recipients[0].Address != "bób@example.org" || len(e.Recipients) != 2 {
		t.Errorf("%v %+v", err, e)
	}
	if all[0].Subject != "mail.incoming" || all[0].Header.Get("Nats-Msg-Id") != envelope.Key(d) {
		t.Errorf("%s %v", all[0].Subject, all[0].Header)
	}
}

func TestFailures(t *testing.T) {
	port := installed.FreePort(t) // it is started again there
	b := newBroker(t, func(o *server.Options) { o.Username, o.Password, o.Host, o.Port = "msa", "s3cret", "127.0.0.1", port })
	url := "nats://" + b.Addr().String()
	t.Setenv("MSA_NATS", "s3cret")
	sink := func(set func(*NATS)) *NATS {
		s := &NATS{Config: natsclient.Config{URLs: []string{url}, Username: "msa", Password: "{env.MSA_NATS}", Timeout: conf.Duration(30 * time.Second)}}
		set(s)
		return open(t, s)
	}
	t.Setenv("MSA_WRONG", "wr0ng")
	for name, s := range map[string]*NATS{
		"no stream has the subject": sink(func(s *NATS) { s.Subject = "other" }),
		"wrong password":            sink(func(s *NATS) { s.Password = "{env.MSA_WRONG}" }),
		"nobody there":              sink(func(s *NATS) { s.URLs = []string{"nats://127.0.0.1:1"} }),
	} {
		if err := s.Deliver(t.Context(), letter()); !queue.IsUnreachable(err) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sink(func(s *NATS) { s.Stream = "OTHER" }).Deliver(t.Context(), letter()); err == nil || msatest.IsPermanent(err) {
		t.Errorf("another stream has it: %v", err)
	}
	large := msatest.NewDelivery(make([]byte, 8<<20), "bob@example.org")
	if reply, ok := sink(func(*NATS) {}).Deliver(t.Context(), large).(*smtp.SMTPError); !ok || reply.Code != 552 {
		t.Errorf("too large: %v", reply)
	}

	s := sink(func(*NATS) {})
	if err := s.Deliver(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	dir := b.StoreDir()
	b.Shutdown()
	b.WaitForShutdown()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) { // what is published before that is noticed, waits for its time-out
		if _, err := s.client.Connect(t.Context()); err != nil {
			break
		}
	}
	if err := s.Deliver(t.Context(), letter()); !queue.IsUnreachable(err) {
		t.Errorf("it is gone: %v", err)
	}
	startServer(t, &server.Options{MaxPayload: 8 << 20, Username: "msa", Password: "s3cret", Host: "127.0.0.1", Port: port, StoreDir: strings.TrimSuffix(dir, "/jetstream")})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := s.Deliver(t.Context(), letter())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is back:", err)
		}
	}
}

func TestCore(t *testing.T) {
	b := newBroker(t, nil)
	conn, err := nats.Connect(b.ClientURL(), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sub, err := conn.SubscribeSync("plain")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, &NATS{Config: natsclient.Config{URLs: []string{b.ClientURL()}, Subject: "plain", Core: true}})
	if err := s.Deliver(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(time.Minute)
	if err != nil || string(m.Data) != "x: y\r\n\r\n" || !strings.Contains(m.Header.Get("MSA-Envelope"), "carol@example.org") {
		t.Errorf("%v %+v", err, m)
	}
}

// Who may not publish to the subject hears of it beside the answers: nothing is delivered then, with JetStream there is no answer to wait for,
// and it goes on once the right is there.
func TestDenied(t *testing.T) {
	user := &server.User{Username: "msa", Password: "s3cret", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"other"}}}}
	o := &server.Options{Users: []*server.User{user}}
	b := startServer(t, o)
	t.Setenv("MSA_NATS", "s3cret")
	sinks := make(map[bool]*NATS)
	for _, core := range []bool{true, false} {
		sinks[core] = open(t, &NATS{Config: natsclient.Config{
			URLs: []string{"nats://" + b.Addr().String()}, Username: "msa", Password: "{env.MSA_NATS}", Core: core, Timeout: conf.Duration(time.Hour),
		}})
		for range 2 {
			if err := sinks[core].Deliver(t.Context(), letter()); !queue.IsUnreachable(err) || !strings.Contains(err.Error(), "Permissions Violation") {
				t.Errorf("core %t: %v", core, err)
			}
		}
	}
	may := *o
	may.Users = []*server.User{{Username: "msa", Password: "s3cret"}}
	if err := b.ReloadOptions(&may); err != nil {
		t.Fatal(err)
	}
	if err := sinks[true].Deliver(t.Context(), letter()); err != nil {
		t.Error(err)
	}
}

// Who says how the server's certificate is checked wants TLS: a server that has none gets nothing, also where the URL does not say tls.
func TestTLSIsMeant(t *testing.T) {
	b := newBroker(t, nil)
	_, root := hoptest.Certificate(t)
	s := open(t, &NATS{Config: natsclient.Config{URLs: []string{b.ClientURL()}, TLSClient: conf.TLSClient{CA: []string{root}}}})
	if err := s.Deliver(t.Context(), letter()); !queue.IsUnreachable(err) || !errors.Is(err, nats.ErrSecureConnWanted) {
		t.Errorf("in clear: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for want, text := range map[string]string{
		"nats takes a URL":        "nats",
		`unknown setting "queue"`: "nats nats://localhost {\n queue x\n}",
		"cannot be published to":  "nats nats://localhost {\n subject a.*\n}",
		"is not a NATS URL":       "nats http://localhost {\n subject a\n}",
		"which are not logged":    "nats nats://a:b@localhost {\n subject a\n}",
		"would go to x in":        "nats nats://x {\n subject a\n token b\n}",
		"remove it, or stream":    "nats nats://localhost {\n subject a\n core\n stream b\n}",
		"timeout: ":               "nats nats://localhost {\n subject a\n timeout b\n}",
		"takes no value":          "nats nats://localhost {\n core yes\n}",
		"username, which is":      "nats nats://localhost {\n subject a\n password b\n}",
		"keep one of them":        "nats nats://localhost {\n subject a\n token b\n username c\n password d\n}",
		"no such file":            "nats nats://localhost {\n subject a\n credentials /nowhere\n}",
		"go together":             "nats nats://localhost {\n subject a\n client_certificate a \"\"\n}",
	} {
		s := new(NATS)
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil {
			err = s.Provision(caddyContext)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Log, history and events say where the message is; a reload that comes before it was published takes the attempt
// back.
func TestAnswered(t *testing.T) {
	b := newBroker(t, nil)
	s := open(t, &NATS{Config: natsclient.Config{URLs: []string{b.ClientURL()}, Subject: "mail.x"}})
	d := letter()
	recalled := errors.New("recalled")
	d.OnFinal(func() error { return recalled })
	if err := s.Deliver(t.Context(), d); !errors.Is(err, recalled) {
		t.Error(err)
	}
	d.OnFinal(func() error { return nil })
	for _, want := range []string{"stored in stream MAIL, sequence 1", "stored in stream MAIL, sequence 1, which it was already"} {
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Recipients {
			if a := d.AnswerOf(r); a.Reply != want || a.ID != "MAIL:1" || a.Host != b.Name() || a.Address == "" {
				t.Errorf("%+v", a)
			}
		}
	}
}
