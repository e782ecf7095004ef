package notifywebhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other  = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func delivered() *notify.Event {
	return notify.NewEvent(&journal.Fact{Time: time.Date(2026, 11, 29, 7, 12, 9, 113e6, time.UTC), What: journal.Delivered, ID: "Q1", Server: "msa.example.org", User: "alice", Sender: "alice@example.org",
		Recipients: []string{"bob@example.net"}, Count: 1, Visit: &journal.Visit{Route: "relay", Lane: "relay/x", Attempt: 2, Answer: "250 ok", HopID: "4X", Duration: 214 * time.Millisecond}})
}

func open(t *testing.T, w *Webhook) *Webhook {
	t.Helper()
	if err := w.provision(zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Cleanup() })
	return w
}

// What is posted is JSON, signed with each secret, under the same id in every attempt.
func TestPost(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer srv.Close()
	t.Setenv("NOTIFY_SECRET", other+"\n")
	w := open(t, &Webhook{URL: srv.URL, Secrets: []conf.Secret{secret, "{env.NOTIFY_SECRET}"}, Bearer: "t0ken", Headers: map[string]string{"X-From": "msa"}})
	var ids []string
	for range 2 {
		if err := w.Notify(t.Context(), delivered()); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got.Header.Get("webhook-id"))
	}
	if ids[0] != ids[1] || !strings.HasPrefix(ids[0], "msg_") || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Authorization") != "Bearer t0ken" || got.Header.Get("X-From") != "msa" {
		t.Error(ids, got.Header)
	}
	var keys []webcall.WebhookKey
	for _, s := range []string{secret, other} {
		key, err := webcall.ParseWebhookKey(s)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	var stamp int64
	_, _ = fmt.Sscan(got.Header.Get("webhook-timestamp"), &stamp)
	if want := webcall.WebhookHeader(ids[0], time.Unix(stamp, 0), body, keys...); got.Header.Get("webhook-signature") != want.Get("webhook-signature") || strings.Count(want.Get("webhook-signature"), "v1,") != 2 {
		t.Error(got.Header)
	}
	const want = `{"type":"message.delivered","timestamp":"2026-11-29T07:12:09.113Z","data":{"queue_id":"Q1","server":"msa.example.org","user":"alice","sender":"alice@example.org","recipients":["bob@example.net"],"recipient_count":1,"route":"relay","lane":"relay/x","attempt":2,"reply":"250 ok","hop_id":"4X","duration_ms":214}}`
	if string(body) != want {
		t.Errorf("%s\nwant\n%s", body, want)
	}
}

// What an answer means: for this event, for the receiver, and when to come again.
func TestOutcomes(t *testing.T) {
	var status int
	var after string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		if status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, "said\x1b[31m so")
	}))
	w := open(t, &Webhook{URL: srv.URL + "/?token=hidden"})
	kind := func(err error) string {
		if later, ok := errors.AsType[*notify.LaterError](err); ok {
			return "later " + later.After.Round(10*time.Second).String()
		}
		if _, ok := errors.AsType[*notify.RefusedError](err); ok {
			return "refused"
		}
		if _, ok := errors.AsType[*notify.UnreachableError](err); ok {
			return "unreachable"
		}
		if err != nil {
			return "failed"
		}
		return ""
	}
	const in10 = "in ten minutes" // a time, as that is told when it is said
	for _, tt := range []struct {
		status int
		after  string
		want   string
	}{
		{200, "", ""}, {204, "", ""}, {299, "", ""}, {307, "", "failed"}, {400, "", "refused"}, {401, "", "failed"}, {403, "", "failed"}, {404, "", "failed"}, {410, "", "failed"},
		{413, "", "refused"}, {413, "60", "refused"}, {422, "", "refused"}, {429, "", "later 0s"}, {429, "120", "later 2m0s"}, {429, in10, "later 10m0s"}, {429, "soon", "later 0s"}, {500, "", "failed"}, {503, "60", "later 1m0s"}, {503, "-1", "failed"},
		{503, "99999999999", "failed"},
	} {
		if status, after = tt.status, tt.after; after == in10 {
			after = time.Now().Add(10*time.Minute + 3*time.Second).UTC().Format(http.TimeFormat)
		}
		err := w.Notify(t.Context(), delivered())
		if got := kind(err); got != tt.want {
			t.Errorf("%d %q: %s (%v), want %s", tt.status, tt.after, got, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "\x1b")) {
			t.Error(err)
		}
	}
	srv.Close()
	if got := kind(w.Notify(t.Context(), delivered())); got != "unreachable" {
		t.Error("nobody there:", got)
	}
}

// A service that hangs, or never ends to answer, holds nothing up beyond the timeout.
func TestBounds(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			<-release
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	defer close(release)
	w := open(t, &Webhook{URL: srv.URL + "/hangs", Timeout: conf.Duration(50 * time.Millisecond)})
	if err := w.Notify(t.Context(), delivered()); err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Error(err)
	}
	w = open(t, &Webhook{URL: srv.URL})
	if err := w.Notify(t.Context(), delivered()); err == nil || len(err.Error()) > maxAnswer+200 {
		t.Errorf("%d octets", len(err.Error()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Notify(ctx, delivered()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	for want, w := range map[string]*Webhook{
		"url: an http or https URL":      {},
		"say insecure_plaintext":         {URL: "http://hooks.example.org"},
		"secret: is not whsec_":          {URL: "https://x", Secrets: []conf.Secret{"not base64!"}},
		"secret: does not hold 24 to 64": {URL: "https://x", Secrets: []conf.Secret{"whsec_c2hvcnQ="}},
		"timeout: must not be negative":  {URL: "https://x", Timeout: -1},
		"secret: ":                       {URL: "https://x", Secrets: []conf.Secret{"{no.such}"}},
	} {
		if err := w.provision(zap.NewNop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Events of different facts have ids of their own, and one that was read again has the same.
func TestIDs(t *testing.T) {
	a, b := delivered(), delivered()
	if a.ID != b.ID {
		t.Error(a.ID, b.ID)
	}
	b.Fact.Position = "7"
	if again := notify.NewEvent(b.Fact); again.ID != a.ID {
		t.Error("the position is part of it")
	}
	b.Fact.Recipients = []string{"carol@example.net"}
	if again := notify.NewEvent(b.Fact); again.ID == a.ID {
		t.Error("two facts have one id")
	}
	text, err := json.Marshal(a.ForUser())
	if err != nil || strings.Contains(string(text), "relay") || a.ForUser().ID != a.ID {
		t.Errorf("%s %v", text, err)
	}
	a.Fact.Copy = "archive"
	if a.ForUser() != nil {
		t.Error("a user hears of a copy")
	}
}
