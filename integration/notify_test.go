package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// hookSecret is of the receivers under test.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// statusEvent is what a receiver hears.
type statusEvent struct {
	ID    string
	Event struct {
		Type      string
		Timestamp time.Time
		Data      struct {
			QueueID    string `json:"queue_id"`
			Server     string
			User       string
			Sender     string
			Recipients []string
			Error      string
			Attempt    int
		}
	}
}

// statusEvents reads lines of JSON.
func statusEvents(text []byte) (all []statusEvent) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var e statusEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err == nil { // or it was killed in the midst of it
			all = append(all, e)
		}
	}
	return all
}

// told are the types of the events of a message, in the order in which they came, repeats left out.
func told(all []statusEvent, id string) (types []string) {
	seen := make(map[string]bool)
	for _, e := range all {
		if e.Event.Data.QueueID == id && !seen[e.ID] {
			seen[e.ID] = true
			types = append(types, e.Event.Type)
		}
	}
	return types
}

// statusHook is a web service in Node that hears of status.
type statusHook struct {
	*daemon
	url string
}

func newStatusHook(t *testing.T) *statusHook {
	script, err := filepath.Abs("clients/statushook.js")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	d := newDaemon(t, map[string]string{"mode": "200"}, need(t, "env"), installed.NPMPath, "SECRET="+hookSecret, "PORT="+port(address), need(t, "standardwebhooks"), script, "$D")
	d.serves = listening(address)
	d.run()
	return &statusHook{d, "http://" + address + "/status?key=hidden"}
}

func (h *statusHook) says(mode string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "mode.new"), []byte(mode), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(h.dir, "mode.new"), filepath.Join(h.dir, "mode")); err != nil {
		h.t.Fatal(err)
	}
}

func (h *statusHook) lines(name string) []byte {
	b, _ := os.ReadFile(filepath.Join(h.dir, name))
	return b
}

// A receiver that is killed, stopped, answers 500 and 429 and comes back, while the server is reloaded and killed, hears of every
// message that was accepted: each event at least once, in order for each message, signed so that the reference library
// verifies it. The spool's kind makes no difference.
func TestNotifyWebhook(t *testing.T) {
	t.Parallel()
	for name, spool := range map[string]func(t *testing.T, s *server) string{
		"file": func(_ *testing.T, s *server) string { return "spool file " + s.dir + "/spool" },
		"postgres": func(t *testing.T, _ *server) string {
			return "spool postgres " + postgres.Start(t).DSN() + " {\n\tlease 10s\n\t}"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newStatusHook(t)
			s := newServer(t)
			s.writeUsers("")
			text := s.caddyfile(layout{msa: `
	queue {
		retry 200ms
	}
	notify webhook ` + h.url + ` {
		on accepted deferred delivered failed
		secret ` + hookSecret + `
		timeout 1s
	}
	@bad recipient_domain bad.example
	deliver @bad lmtp unix/$DIR/nobody.sock
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
			text = strings.Replace(text, "spool file "+s.dir+"/spool", spool(t, s), 1)
			s.write("Caddyfile", text)
			s.run()
			trust := s.tlsConfig()
			var mu sync.Mutex
			var accepted []string
			var ended atomic.Bool
			var load sync.WaitGroup
			load.Go(func() {
				for n := 0; !ended.Load(); n++ {
					c, err := s.as(trust, "alice@example.org")
					if err != nil {
						time.Sleep(50 * time.Millisecond)
						continue
					}
					id, err := c.submit("alice@example.org", fmt.Sprintf("bob%d@example.net", n%5), letter(fmt.Sprint(n)))
					c.close()
					if err == nil {
						mu.Lock()
						accepted = append(accepted, id)
						mu.Unlock()
					}
					time.Sleep(time.Duration(often(20, 100)) * time.Millisecond)
				}
			})
			pause := func() { time.Sleep(1500 * time.Millisecond) }
			pause()
			h.signal(syscall.SIGKILL)
			pause()
			h.run()
			pause()
			h.signal(syscall.SIGSTOP)
			pause()
			s.kill()
			s.run()
			pause()
			h.signal(syscall.SIGCONT)
			pause()
			h.says("500")
			pause()
			if status, answer := s.load(strings.Replace(text, "retry 200ms", "retry 300ms", 1)); status != http.StatusOK {
				t.Errorf("%d %s", status, answer)
			}
			pause()
			h.says("429")
			pause()
			s.kill()
			s.run()
			h.says("200")
			pause()
			await(t, "a load", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(accepted) >= 20
			})
			ended.Store(true)
			load.Wait()
			deferred := s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@bad.example", letter("deferred"))

			sent := time.Now()
			var all []statusEvent
			want := []string{"message.accepted", "message.delivered"}
			complete := func(id string) bool { return slices.Equal(told(all, id), want) }
			awaitProbe(t, "all to be told", func() bool {
				all = statusEvents(h.lines("heard"))
				return !slices.ContainsFunc(accepted, func(id string) bool { return len(told(all, id)) < len(want) })
			})
			t.Logf("all told after %v", time.Since(sent))
			for _, id := range accepted {
				if !complete(id) {
					t.Errorf("%s: %q", id, told(all, id))
				}
			}
			if len(accepted) < 20 {
				t.Errorf("%d messages are few", len(accepted))
			}
			await(t, "deferrals to be told", func() bool {
				all = statusEvents(h.lines("heard"))
				got := told(all, deferred)
				return len(got) > 1 && got[0] == "message.accepted" && got[1] == "message.deferred"
			})
			t.Logf("deferral told after %v", time.Since(sent))
			if forged := h.lines("forged"); len(forged) > 0 {
				t.Errorf("not verified: %s", forged)
			}
			e := all[0].Event
			if e.Data.Server != hostname || e.Data.User != "alice@example.org" || e.Data.Sender != "alice@example.org" || len(e.Data.Recipients) != 1 || time.Since(e.Timestamp) > time.Hour {
				t.Errorf("%+v", e)
			}
			t.Logf("%d messages, %d events told, %d of them again", len(accepted), len(all), len(all)-distinct(all))
			if strings.Contains(s.log.String(), "hidden") {
				t.Error("the log has what only the URL has")
			}
		})
	}
}

func distinct(all []statusEvent) int {
	ids := make(map[string]bool)
	for _, e := range all {
		ids[e.ID] = true
	}
	return len(ids)
}

// While a receiver takes nothing, mail is accepted and delivered as ever, other receivers hear of it, and metrics and admin API tell how far it is.
// What is taken out of the configuration is forgotten.
func TestNotifyLag(t *testing.T) {
	t.Parallel()
	h := newStatusHook(t)
	h.says("503")
	s := start(t, layout{global: "metrics", msa: `
	notify webhook ` + h.url + ` {
		name dead
		secret ` + hookSecret + `
	}
	notify pipe sh -c "cat >> $DIR/heard; echo >> $DIR/runs" {
		on accepted delivered
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
	trust := s.tlsConfig()
	var ids []string
	for i := range 5 {
		ids = append(ids, s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter(fmt.Sprint(i))))
	}
	s.mail("bob@example.net", len(ids))
	heard := func() []statusEvent { return heardBy(filepath.Join(s.dir, "heard")) }
	await(t, "the pipe to hear of all", func() bool { return len(heard()) == 2*len(ids) })
	for _, id := range ids {
		if got := told(heard(), id); !slices.Equal(got, []string{"message.accepted", "message.delivered"}) {
			t.Errorf("%s: %q", id, got)
		}
	}
	metric := func(name string) (value float64) {
		_, text := s.request(http.MethodGet, "/metrics", "", nil)
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name+"{") && strings.Contains(line, `notifier="dead"`) {
				var of float64 // one of its series
				_, _ = fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &of)
				value += of
			}
		}
		return value
	}
	await(t, "the lag", func() bool {
		return metric("caddy_msa_notify_waiting") == float64(len(ids)) && metric("caddy_msa_notify_lag_seconds") > 1 && metric("caddy_msa_notify_events_total") > 0
	})
	var status struct {
		Notifiers []struct {
			Name    string
			Active  bool
			Waiting int
			Down    bool
			Error   string
			Oldest  *time.Time
		}
	}
	var answer string
	await(t, "the pipe's last program to have ended", func() bool {
		_, answer = s.adminRequest(http.MethodGet, "/msa/notify", "")
		if err := json.Unmarshal([]byte(answer), &status); err != nil || len(status.Notifiers) != 2 {
			t.Fatal(answer, err)
		}
		return status.Notifiers[1].Waiting == 0
	})
	if n := status.Notifiers[0]; n.Name != "dead" || !n.Active || n.Waiting != len(ids) || !n.Down || n.Oldest == nil || !strings.Contains(n.Error, "503") || strings.Contains(n.Error, "hidden") {
		t.Error(answer)
	}
	if n := status.Notifiers[1]; n.Name != "pipe sh" || !n.Active || n.Waiting != 0 || n.Down || n.Error != "" {
		t.Error(answer)
	}
	if status, answer := s.load(s.caddyfile(layout{})); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	s.logged("it is forgotten how far it was told", "name dead")
}

// NATS stores each event once, through the end of the server and of the broker.
func TestNotifyNATS(t *testing.T) {
	t.Parallel()
	d, address, js := startNATS(t)
	s := start(t, layout{msa: `
	notify nats nats://` + address + ` {
		on accepted delivered
		subject status.mail
		stream STATUS
		timeout 2s
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "STATUS", Subjects: []string{"status.>"}})
	if err != nil {
		t.Fatal(err)
	}
	trust := s.tlsConfig()
	var ids []string
	send := func() {
		ids = append(ids, s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter(fmt.Sprint(len(ids)))))
	}
	send()
	d.signal(syscall.SIGKILL)
	send()
	s.kill()
	s.run()
	send()
	d.run()
	send()
	var all []statusEvent
	awaitProbe(t, "all events", func() bool {
		all = nil
		info, err := stream.Info(t.Context())
		if err != nil {
			return false
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				return false
			}
			e := statusEvent{ID: m.Header.Get(nats.MsgIdHdr)}
			if err := json.Unmarshal(m.Data, &e.Event); err != nil || e.Event.Type != m.Header.Get("MSA-Event") {
				t.Fatalf("%s: %v", m.Data, err)
			}
			all = append(all, e)
		}
		return distinct(all) == 2*len(ids)
	})
	for _, id := range ids {
		if got := told(all, id); !slices.Equal(got, []string{"message.accepted", "message.delivered"}) {
			t.Errorf("%s: %q", id, got)
		}
	}
}

// A user's webhook on this machine, or on a private network, is never called, whatever name it has; one that the operator does not allow
// neither.
func TestNotifyUserPrivate(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	private := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer private.Close()
	place := private.Listener.Addr().String()
	local := "localhost:" + port(place)
	url := atomic.Pointer[string]{}
	set := func(u string) { url.Store(&u) }
	set("https://" + local + "/")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "user": "alice@example.org", "attributes": map[string]string{"webhook_url": *url.Load()}})
	}))
	defer backend.Close()
	s := start(t, layout{auth: "auth {\n\t\thttp " + backend.URL + " {\n\t\t\ttimeout 30s\n\t\t}\n\t}", msa: `
	notify user_webhook {
		allow localhost:` + port(place) + `
	}`})
	trust := s.tlsConfig()
	send := func() {
		s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter("private"))
	}
	send()
	s.logged("not a public address")
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
}
