package integration

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// listening tells whether there is a server.
func listening(address string) func() bool {
	return func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	}
}

// interrupted submits a message each while a peer is stopped, is killed and is back.
func (s *server) interrupted(d *daemon, to string, has func(subject string) bool) {
	s.t.Helper()
	trust := s.tlsConfig()
	send := func(subject string) string {
		s.t.Helper()
		return s.mustSend(trust, "alice@example.org", "alice@example.org", to, letter(subject))
	}
	send("before")
	await(s.t, "the message before", func() bool { return has("before") })
	d.signal(syscall.SIGSTOP)
	s.logged(send("stopped"), "delivery deferred")
	d.signal(syscall.SIGCONT)
	awaitProbe(s.t, "the message of when it was stopped", func() bool { return has("stopped") })
	d.signal(syscall.SIGKILL)
	send("killed") // perhaps it waits for the other's probe
	d.run()
	awaitProbe(s.t, "the message of when it was killed", func() bool { return has("killed") })
}

// holds tells whether one file of a directory has a message with a subject, whole.
func holds(dir, pattern string) func(subject string) bool {
	return func(subject string) bool {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		n := 0
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && bytes.HasSuffix(b, []byte("\r\n"+letter(subject))) {
				n++
			}
		}
		return n == 1
	}
}

// A web service in Python gets each message once, signed; what it refuses is bounced in its words.
func TestWebhook(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	const key = "0123456789abcdef0123456789abcdef"
	script, err := filepath.Abs("clients/hook.py")
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, map[string]string{"out/.keep": ""}, need(t, "env"), "HOOK_KEY="+key, "PORT="+port(address), need(t, "python3"), "-B", script, "$D/out")
	d.serves = listening(address)
	d.run()
	s := start(t, layout{msa: `
	@hook recipient_domain hook.example
	deliver @hook webhook http://` + address + `/ {
		hmac_key ` + key + `
		timeout 10s
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 300ms
		probe 300ms 1s
	}`})
	s.interrupted(d, "bob@hook.example", holds(d.dir+"/out", "*"))
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "nobody@hook.example", letter("refused"))
	if bounce := s.mail("alice@example.org", 1)[0]; !bytes.Contains(bounce, []byte("No such desk")) || bytes.Contains(bounce, []byte(address)) {
		t.Errorf("bounce:\n%s", bounce)
	}
}

// startNATS builds nats-server from its module and starts it, with a stream MAIL of the subjects mail.>.
func startNATS(t *testing.T) (d *daemon, address string, js jetstream.JetStream) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nats-server")
	if err := link(".", nil, program, "github.com/nats-io/nats-server/v2"); err != nil {
		t.Fatal(err)
	}
	address = freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	d = newDaemon(t, nil, program, "-a", host, "-p", port, "-js", "-sd", "$D/store")
	d.serves = listening(address)
	d.run()
	conn, err := nats.Connect("nats://"+address, nats.MaxReconnects(-1), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if js, err = jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MAIL", Subjects: []string{"mail.>"}}); err != nil {
		t.Fatal(err)
	}
	return d, address, js
}

// nats-server, built from its module, keeps what was published to a stream, over SIGSTOP and SIGKILL.
func TestNATS(t *testing.T) {
	t.Parallel()
	d, address, js := startNATS(t)
	s := start(t, layout{msa: `
	deliver nats nats://` + address + ` {
		subject mail.incoming
		stream  MAIL
		timeout 10s
	}
	queue {
		retry 300ms
		probe 300ms 1s
	}`})
	s.interrupted(d, "bob@example.net", func(subject string) bool {
		stream, err := js.Stream(t.Context(), "MAIL")
		if err != nil {
			return false
		}
		n := 0
		for i := uint64(1); ; i++ {
			m, err := stream.GetMsg(t.Context(), i)
			if err != nil {
				return n == 1
			}
			var envelope struct{ Sender string }
			if bytes.HasSuffix(m.Data, []byte("\r\n"+letter(subject))) && json.Unmarshal([]byte(m.Header.Get("MSA-Envelope")), &envelope) == nil && envelope.Sender == "alice@example.org" {
				n++
			}
		}
	})
}

// An S3 server, gofakes3 in this process, verifies signatures and has each message as two objects.
func TestS3(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "declarations"); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret-key"})).Server())
	defer store.Close()
	s := start(t, layout{msa: `
	deliver s3 ` + store.URL + ` declarations {
		prefix     in/
		access_key msa
		secret_key {env.S3_KEY}
		path_style
	}`})
	id := s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("stored"))
	s.logged(id, "delivery delivered")
	list, err := backend.ListBucket(t.Context(), "declarations", nil, gofakes3.ListBucketPage{})
	if err != nil || len(list.Contents) != 2 || !strings.HasPrefix(list.Contents[0].Key, "in/"+id) {
		t.Fatalf("%+v, %v", list, err)
	}
	if strings.Contains(s.log.String(), "s3cret-key") {
		t.Error("the log holds the key")
	}
}

// clients know logical addresses, the next hop gets actual ones, the sender reads of logical
// ones, and the log has both. Nothing that was translated is translated again.
func TestAddressMap(t *testing.T) {
	t.Parallel()
	p := startPostfix(t)
	s := newServer(t)
	s.writeUsers("")
	s.write("addresses.map", "desk@otpnet.example   bob@example.net\nclosed@otpnet.example nobody@example.net\nfirm@otpnet.example alice@example.org\nbob@example.net wrong@example.net\n")
	s.write("Caddyfile", s.caddyfile(layout{msa: `
	@otp recipient_domain otpnet.example
	deliver @otp relay ` + p.address + ` {
		address_map file $DIR/addresses.map
		server_name ` + postfixName + `
		ca ` + p.certificate() + `
		auth ` + postfixUser + ` {env.RELAY_PASSWORD}
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`}))
	s.run()
	trust := s.tlsConfig()
	message := "From: alice@example.org\r\nTo: desk@otpnet.example\r\nSubject: mapped\r\n\r\nHello.\r\n"
	id := s.mustSend(trust, "alice@example.org", "alice@example.org", "desk@otpnet.example", message)
	got := p.mail(1)[0]
	if !bytes.Equal(submitted(got), []byte(message)) || !bytes.HasPrefix(got, []byte("Return-Path: <firm@otpnet.example>\n")) {
		t.Errorf("delivered:\n%s", got)
	}
	if line := s.logged(id, "recipient translated"); !strings.Contains(line, "desk@otpnet.example") || !strings.Contains(line, `"bob@example.net"`) {
		t.Error(line)
	}
	s.mustSend(trust, "alice@example.org", "alice@example.org", "closed@otpnet.example", letter("refused"))
	bounce := s.mail("alice@example.org", 1)[0]
	if bytes.Contains(bounce, []byte("nobody@example.net")) || !bytes.Contains(bounce, []byte("Final-Recipient: rfc822; closed@otpnet.example\r\n")) || !bytes.Contains(bounce, []byte("5.1.1")) {
		t.Errorf("bounce:\n%s", bounce)
	}
	s.logged("translated once", "bob@example.net") // the warning at load
}
