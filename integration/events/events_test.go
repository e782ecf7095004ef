// Package events runs the app in this process, with a handler of Caddy's events app beside it.
package events

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-msa/caddy-msa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/integration/bench/least"
)

func init() { caddy.RegisterModule(handler{}) }

// handler is the module events.handlers.msa_test.
type handler struct{}

var got = make(chan caddy.Event, 100)

func (handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.msa_test", New: func() caddy.Module { return new(handler) }}
}

func (handler) Handle(_ context.Context, e caddy.Event) error {
	got <- e
	return nil
}

const config = `{
	"admin": {"disabled": true},
	"storage": {"module": "file_system", "root": "$DIR/caddy"},
	"logging": {"logs": {"default": {"level": "ERROR"}}},
	"apps": {
		"events": {"subscriptions": [{"events": ["message_accepted", "message_refused", "message_delivered", "message_deferred", "message_expired", "message_failed", "message_bounced", "message_held", "message_told"],
			"handlers": [{"handler": "msa_test"}]}]},
		"msa": {
			"servers": {"msa.example.test": {
				"hostname": "msa.example.test", "listen_tls": ["$ADDRESS"],
				"certificates": [{"certificate": "$DIR/cert.pem", "key": "$DIR/cert.key"}],
				"auth": {"backends": [{"module": "file", "path": "$DIR/users"}], "mechanisms": ["PLAIN"]},
				"policies": [{"policy": {"module": "size", "max": 1000}}],
				"routes": [
					{"match": [{"recipient_domain": ["down.example"]}], "sink": {"module": "relay", "host": "127.0.0.1:1", "tls": "off"}, "queue": {"retry": [100000000], "expire": 10000000000}},
					{"match": [{"recipient_domain": ["bad.example"]}], "sink": {"module": "pipe", "command": ["/bin/sh", "-c", "exit 67"]}},
					{"sink": {"module": "directory", "path": "$DIR/out"}}]}},
			"spool": {"module": "file", "path": "$DIR/spool"}}}}`

// Each event comes once, with what it is about.
func TestEvents(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", installed.FreePort(t))
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/users", []byte("alice@example.org:{PLAIN}secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// An issuer tells of its certificate while Caddy's events app begins, which is a race in v2.11.9.
	cert, key, err := least.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"cert.pem": cert, "cert.key": key} {
		if err := os.WriteFile(dir+"/"+name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := caddy.Load([]byte(strings.NewReplacer("$DIR", dir, "$ADDRESS", address).Replace(config)), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = caddy.Stop()
		for len(got) > 0 { // what came after the last that was waited for
			<-got
		}
	})

	var waiting []caddy.Event // those that came before another that is wanted first: a delivery may be quicker than who tells of the acceptance
	want := func(name string, data map[string]string) caddy.Event {
		t.Helper()
		named := func(e caddy.Event) bool { return e.Name() == name }
		for end := time.After(2 * time.Minute); !slices.ContainsFunc(waiting, named); {
			select {
			case e := <-got:
				waiting = append(waiting, e)
			case <-end:
				t.Fatalf("no %s, but %v", name, waiting)
			}
		}
		i := slices.IndexFunc(waiting, named)
		e := waiting[i]
		waiting = slices.Delete(waiting, i, i+1)
		for key, value := range data {
			if text := fmt.Sprint(e.Data[key]); !strings.Contains(text, value) || value == "" && text != "" {
				t.Errorf("%s: %s is %q, want %q", e.Name(), key, text, value)
			}
		}
		if e.Data["queue_id"] == "" || e.Data["server"] != "msa.example.test" {
			t.Errorf("%s: %v", e.Name(), e.Data)
		}
		return e
	}
	noMore := func() {
		t.Helper()
		for _, e := range waiting {
			t.Errorf("%s: %v", e.Name(), e.Data)
		}
	}
	if reply := submit(t, address, "bob@example.net", "Subject: a\r\n\r\n"); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	accepted := want("message_accepted", map[string]string{"user": "alice@example.org", "sender": "alice@example.org", "recipients": "bob@example.net"})
	delivered := want("message_delivered", map[string]string{"route": "directory", "recipients": "bob@example.net"})
	if accepted.Data["queue_id"] != delivered.Data["queue_id"] {
		t.Errorf("%v and %v", accepted.Data, delivered.Data)
	}
	noMore()
	if reply := submit(t, address, "bob@example.net", "Subject: a\r\n\r\n"+strings.Repeat("x\r\n", 400)); !strings.HasPrefix(reply, "552") {
		t.Fatal(reply)
	}
	want("message_refused", map[string]string{"user": "alice@example.org", "reply": "552 5.3.4", "policy": "size"})
	noMore()

	if reply := submit(t, address, "bob@bad.example", "Subject: a\r\n\r\n"); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	want("message_accepted", nil)
	// The failure, the notification, and that one's own delivery.
	failed := map[string]int{}
	for _, e := range waiting {
		failed[e.Name()]++
	}
	for deadline := time.After(2 * time.Minute); failed["message_failed"]+failed["message_bounced"]+failed["message_delivered"] < 3; {
		select {
		case e := <-got:
			failed[e.Name()]++
		case <-deadline:
			t.Fatalf("of a message that fails: %v", failed)
		}
	}
	if len(failed) != 3 {
		t.Errorf("of a message that fails: %v", failed)
	}
	if reply := submit(t, address, "bob@down.example", "Subject: a\r\n\r\n"); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	seen := map[string]int{}
	for deadline := time.After(2 * time.Minute); seen["message_bounced"] == 0; {
		select {
		case e := <-got:
			seen[e.Name()]++
		case <-deadline:
			t.Fatalf("of a message that expires: %v", seen)
		}
	}
	if seen["message_deferred"] == 0 || seen["message_expired"] != 1 {
		t.Errorf("of a message that expires: %v", seen)
	}
}

// submit returns the last reply.
func submit(t *testing.T, address, to, message string) (reply string) {
	t.Helper()
	var nc *tls.Conn
	var err error
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) { // until there is a certificate
		nc, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "msa.example.test"})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(nc)
	for _, line := range []string{"", "EHLO client.example", "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00secret")),
		"MAIL FROM:<alice@example.org>", "RCPT TO:<" + to + ">", "DATA", message + "."} {
		if line != "" {
			if _, err := nc.Write([]byte(line + "\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if reply, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if len(reply) > 3 && reply[3] == ' ' {
				break
			}
		}
	}
	return reply
}
