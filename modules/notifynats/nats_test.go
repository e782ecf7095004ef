package notifynats

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/natsclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
)

var caddyContext = caddy.Context{Context: context.Background()}

// A stream of nats-server has each event once, by its id; one that is too large is refused, a subject that nobody stores concerns all.
func TestNotify(t *testing.T) {
	broker, err := server.NewServer(&server.Options{NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: server.RANDOM_PORT})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	if !broker.ReadyForConnections(time.Minute) {
		t.Fatal("nats-server does not start")
	}
	conn, err := nats.Connect(broker.ClientURL(), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "STATUS", Subjects: []string{"status"}, MaxMsgSize: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	open := func(subject string) *NATS {
		n := &NATS{Config: natsclient.Config{URLs: []string{broker.ClientURL()}, Subject: subject, Timeout: conf.Duration(time.Minute)}}
		if err := n.Provision(caddyContext); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Cleanup() })
		return n
	}
	n := open("status")
	fact := journal.Fact{Time: time.Now(), What: journal.Delivered, ID: "Q1", Recipients: []string{"bób@example.net"}}
	e := notify.NewEvent(&fact)
	for range 2 {
		if err := n.Notify(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Fatalf("%+v, %v", info.State, err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil || m.Header.Get("MSA-Event") != "message.delivered" || m.Header.Get(nats.MsgIdHdr) != e.ID || !json.Valid(m.Data) || !strings.Contains(string(m.Data), "bób@example.net") {
		t.Errorf("%+v, %v", m, err)
	}
	large := fact
	large.Text = strings.Repeat("x", 20_000)
	if err := n.Notify(t.Context(), notify.NewEvent(&large)); err == nil {
		t.Error("too large")
	} else if _, ok := errors.AsType[*notify.RefusedError](err); !ok {
		t.Error(err)
	}
	for name, n := range map[string]*NATS{"no stream": open("other"), "nobody there": {Config: natsclient.Config{URLs: []string{"nats://127.0.0.1:1"}, Subject: "status"}}} {
		if n.client == nil {
			if err := n.Provision(caddyContext); err != nil {
				t.Fatal(err)
			}
		}
		err := n.Notify(t.Context(), e)
		if _, ok := errors.AsType[*notify.UnreachableError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
