package sinks3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"
	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var caddyContext = caddy.Context{Context: context.Background()}

// store is gofakes3 in this process: it speaks S3 and verifies signatures.
type store struct {
	t       testing.TB
	backend *s3mem.Backend
	server  *httptest.Server

	mu   sync.Mutex
	fail func(w http.ResponseWriter, r *http.Request) bool
	puts []string
}

func newStore(t testing.TB) *store {
	v := &store{t: t, backend: s3mem.New()}
	if err := v.backend.CreateBucket(context.Background(), "declarations"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(v.backend, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret"})).Server()
	v.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		fail := v.fail
		if r.Method == http.MethodPut {
			v.puts = append(v.puts, r.URL.Path)
		}
		v.mu.Unlock()
		if fail == nil || !fail(w, r) {
			s3.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(v.server.Close)
	return v
}

func (v *store) failWith(f func(w http.ResponseWriter, r *http.Request) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail = f
}

// objects are those with a suffix.
func (v *store) objects(suffix string) (all [][]byte) {
	list, err := v.backend.ListBucket(context.Background(), "declarations", nil, gofakes3.ListBucketPage{})
	if err != nil {
		v.t.Fatal(err)
	}
	for _, o := range list.Contents {
		if strings.HasSuffix(o.Key, suffix) {
			object, err := v.backend.GetObject(context.Background(), "declarations", o.Key, nil)
			if err != nil {
				v.t.Fatal(err)
			}
			b, err := io.ReadAll(object.Contents)
			if err != nil {
				v.t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

func open(t testing.TB, v *store) *S3 {
	t.Helper()
	t.Setenv("MSA_S3", "s3cret")
	s := &S3{Bucket: objectstore.Bucket{Endpoint: v.server.URL, Name: "declarations", Prefix: "in/", AccessKey: "msa", SecretKey: "{env.MSA_S3}", PathStyle: true}}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		v := newStore(t)
		return open(t, v), func() [][]byte { return v.objects(".eml") }
	})
}

// The message is there before its envelope is, and a second attempt writes over the first.
func TestObjects(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org", "carol@example.org")
	for range 2 {
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	key := "/declarations/in/" + envelope.Key(d)
	if want := strings.Join([]string{key + ".eml", key + ".json", key + ".eml", key + ".json"}, " "); strings.Join(v.puts, " ") != want {
		t.Errorf("%q", v.puts)
	}
	all := v.objects(".json")
	var e envelope.Envelope
	if len(all) != 1 || json.Unmarshal(all[0], &e) != nil || e.ID != d.Entry.ID || len(e.Recipients) != 2 {
		t.Errorf("%q", all)
	}
}

func TestFailures(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	deliver := func() error {
		return s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org"))
	}
	answer := func(status int, code string) {
		v.failWith(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>no</Message></Error>`)
			return true
		})
	}
	for _, tt := range []struct {
		status int
		code   string
		store  bool // it is said of the store, and not of this object
	}{
		{404, "NoSuchBucket", true}, {503, "SlowDown", true}, {503, "ServiceUnavailable", true}, {403, "SignatureDoesNotMatch", true}, {403, "InvalidAccessKeyId", true}, {400, "ExpiredToken", true},
		{403, "AccessDenied", false}, {500, "InternalError", false}, {400, "InvalidArgument", false}, {400, "KeyTooLongError", false}, {409, "OperationAborted", false},
	} {
		answer(tt.status, tt.code)
		if err := deliver(); err == nil || queue.IsUnreachable(err) != tt.store || msatest.IsPermanent(err) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	for _, status := range []int{429, 502, 503, 504} { // of what stands before the store, which speaks no S3
		v.failWith(func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			http.Error(w, "<html>No server is available</html>", status)
			return true
		})
		if err := deliver(); !queue.IsUnreachable(err) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}
	answer(400, "EntityTooLarge")
	if reply, ok := deliver().(*smtp.SMTPError); !ok || reply.Code != 552 || reply.EnhancedCode != (smtp.EnhancedCode{5, 3, 4}) {
		t.Error(reply)
	}
	release := make(chan struct{})
	v.failWith(func(_ http.ResponseWriter, r *http.Request) bool { <-release; return true })
	s.Timeout = conf.Duration(30 * time.Millisecond)
	if err := deliver(); err == nil || queue.IsUnreachable(err) || msatest.IsPermanent(err) {
		t.Error(err)
	}
	close(release)
	v.failWith(nil)
	s.Timeout = conf.Duration(time.Minute)
	if err := deliver(); err != nil {
		t.Error(err)
	}
	v.server.Close()
	_ = deliver() // which may find the connection that it was
	if err := deliver(); !queue.IsUnreachable(err) {
		t.Error(err)
	}
}

// The store refuses another secret, and another account.
func TestSignature(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")
	if err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MSA_S3_WRONG", "wr0ng")
	for _, wrong := range []*S3{{Bucket: objectstore.Bucket{AccessKey: "msa", SecretKey: "{env.MSA_S3_WRONG}"}}, {Bucket: objectstore.Bucket{AccessKey: "other", SecretKey: "{env.MSA_S3}"}}} {
		wrong.Endpoint, wrong.Name, wrong.PathStyle = v.server.URL, "declarations", true
		if err := wrong.Provision(caddyContext); err != nil {
			t.Fatal(err)
		}
		if err := wrong.Deliver(t.Context(), d); !queue.IsUnreachable(err) {
			t.Error(err)
		}
	}
	if n := len(v.objects("")); n != 2 {
		t.Errorf("%d objects", n)
	}
}

// What is stored is locked as the configuration says, envelope and message, and the store can check what it gets; a
// large message is not held in memory for that.
func TestObjectLock(t *testing.T) {
	v := newStore(t)
	var headers []http.Header
	v.failWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			headers = append(headers, r.Header.Clone())
		}
		return false
	})
	s := open(t, v)
	s.Retain, s.LegalHold = &Retention{Mode: "compliance", For: conf.Duration(24 * time.Hour)}, true
	message := bytes.Repeat([]byte("0123456789abcd\r\n"), 1<<20)
	began := time.Now()
	memory := allocated(func() {
		if err := s.Deliver(t.Context(), msatest.NewDelivery(message, "bob@example.org")); err != nil {
			t.Fatal(err)
		}
	})
	if len(headers) != 2 {
		t.Fatalf("%d requests", len(headers))
	}
	for _, h := range headers {
		until, err := time.Parse(time.RFC3339, h.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil || until.Before(began.Add(24*time.Hour-time.Second)) || until.After(time.Now().Add(24*time.Hour)) {
			t.Errorf("until %v, %v", until, err)
		}
		if h.Get("X-Amz-Object-Lock-Mode") != "COMPLIANCE" || h.Get("X-Amz-Object-Lock-Legal-Hold") != "ON" || h.Get("Content-Md5") == "" {
			t.Errorf("%v", h)
		}
	}
	if all := v.objects(".eml"); len(all) != 1 || !bytes.Equal(all[0], message) {
		t.Error("the message is another one")
	}
	t.Logf("%d MiB allocated for %d, by client and store", memory>>20, len(message)>>20)
	headers, s.Retain, s.LegalHold = nil, nil, false
	if err := s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		for name := range h {
			if strings.Contains(name, "Lock") {
				t.Errorf("%v", h)
			}
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A bucket without object lock is at fault for all messages.
func TestNoObjectLock(t *testing.T) {
	v := newStore(t)
	v.failWith(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>InvalidRequest</Code><Message>Bucket is missing Object Lock Configuration</Message></Error>`)
		return true
	})
	s := open(t, v)
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")
	if err := s.Deliver(t.Context(), d); err == nil || queue.IsUnreachable(err) {
		t.Error(err)
	}
	s.LegalHold = true
	if err := s.Deliver(t.Context(), d); !queue.IsUnreachable(err) || !strings.Contains(err.Error(), "missing Object Lock") {
		t.Error(err)
	}
}

// Half an upload is not an object, and the next attempt makes one.
func TestCutOff(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	v.failWith(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.CopyN(io.Discard, r.Body, 100_000)
		panic(http.ErrAbortHandler)
	})
	d := msatest.NewDelivery(bytes.Repeat([]byte("0123456789abcd\r\n"), 1<<16), "bob@example.org")
	if err := s.Deliver(t.Context(), d); err == nil || queue.IsUnreachable(err) || len(v.objects("")) != 0 {
		t.Errorf("%v, %d objects", err, len(v.objects("")))
	}
	v.failWith(nil)
	if err := s.Deliver(t.Context(), d); err != nil || len(v.objects(".eml")) != 1 || len(v.objects(".eml")[0]) != 1<<20 {
		t.Errorf("%v, %d objects", err, len(v.objects("")))
	}
}

func TestConfig(t *testing.T) {
	for want, text := range map[string]string{
		"s3 takes an endpoint":          "s3 https://x",
		`unknown setting "bucket"`:      "s3 https://x b {\n bucket c\n}",
		"timeout: ":                     "s3 https://x b {\n timeout x\n}",
		"a URL without a path":          "s3 https://x/y b",
		"would go to x in clear":        "s3 http://x bucket",
		"which are not logged":          "s3 https://id:secret@x bucket",
		"bucket: \"Mail_In!\"":          "s3 https://x Mail_In!",
		"bucket: {env.BUCKET} is empty": "s3 https://x {env.BUCKET}",
		"access_key and secret_key":     "s3 https://x bucket {\n access_key a\n}",
		"no such file":                  "s3 https://x bucket {\n ca /nowhere\n}",
		"takes no value":                "s3 https://x bucket {\n path_style yes\n}",
		"is not a whole number above 0": "s3 https://x bucket {\n concurrency 0\n}",
		"governance or compliance and":  "s3 https://x b {\n retain 10d\n}",
		"retain: takes governance":      "s3 https://x b {\n retain compliance 0\n}",
		"retain: ":                      "s3 https://x b {\n retain compliance soon\n}",
	} {
		s := new(S3)
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil {
			err = s.Provision(caddyContext)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Log, history and events say what the store said; a reload that comes before the envelope is stored takes the
// attempt back.
func TestAnswered(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org", "carol@example.org")
	recalled := errors.New("recalled")
	d.OnFinal(func() error { return recalled })
	if err := s.Deliver(t.Context(), d); !errors.Is(err, recalled) || len(v.objects(".json")) != 0 {
		t.Errorf("%v, %d envelopes", err, len(v.objects(".json")))
	}
	d.OnFinal(func() error { return nil })
	if err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for _, r := range d.Recipients {
		if a := d.AnswerOf(r); !strings.Contains(a.Reply, "stored as declarations/") || a.ID == "" || a.Host != "127.0.0.1" {
			t.Errorf("%+v", a)
		}
	}
}
