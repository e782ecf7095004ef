package sinks3

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A store that takes connections and says nothing, as one does that hangs, never comes to TLS: that is said of the store.
func TestHangsBeforeTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &S3{Bucket: objectstore.Bucket{Endpoint: "https://" + l.Addr().String(), Name: "declarations", AccessKey: "msa", SecretKey: "s3cret"}, Timeout: conf.Duration(100 * time.Millisecond)}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Cleanup() }()
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")
	if err := s.Deliver(t.Context(), d); !queue.IsUnreachable(err) {
		t.Error(err)
	}
	s.LegalHold = true // of which the digest is made before there is a connection
	if err := s.Deliver(t.Context(), d); !queue.IsUnreachable(err) {
		t.Error(err)
	}
}

// Without an account nothing is sent: that is said, with the remedy, and is not this message's fault.
func TestNoAccount(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/") // there is no role
	v := newStore(t)
	s := &S3{Bucket: objectstore.Bucket{Endpoint: v.server.URL, Name: "declarations", PathStyle: true}}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Cleanup() }()
	if err := s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")); !queue.IsUnreachable(err) || !strings.Contains(err.Error(), "set access_key and secret_key") || len(v.puts) > 0 {
		t.Errorf("%v, sent %q", err, v.puts)
	}
}

// What stands before the store may have a limit of its own, and speaks no S3.
func TestTooLargeForProxy(t *testing.T) {
	v := newStore(t)
	v.failWith(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "<html>413 Request Entity Too Large</html>", http.StatusRequestEntityTooLarge)
		return true
	})
	err := open(t, v).Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org"))
	if reply, ok := err.(*smtp.SMTPError); !ok || reply.Code != 552 || reply.EnhancedCode != (smtp.EnhancedCode{5, 3, 4}) {
		t.Error(err)
	}
}

// The doctor tells an account that may store and no more, as the documentation advises, from one that is refused.
func TestExamine(t *testing.T) {
	v := newStore(t)
	s := open(t, v)
	for _, tt := range []struct {
		fail func(w http.ResponseWriter, r *http.Request) bool
		want doctor.Level
	}{
		{nil, doctor.OK},
		{refuse(403, "AccessDenied"), doctor.Skipped},
		{refuse(403, "InvalidAccessKeyId"), doctor.Wrong},
		{refuse(403, "SignatureDoesNotMatch"), doctor.Wrong},
		{refuse(404, "NoSuchBucket"), doctor.Wrong},
	} {
		v.failWith(tt.fail)
		found := s.Examine(t.Context(), caddymsa.Examination{Subject: "route s3"})
		if len(found) != 1 || found[0].Level != tt.want || tt.want != doctor.OK && found[0].Remedy == "" {
			t.Errorf("%+v, want %s", found, tt.want)
		}
	}
	v.failWith(nil)
	v.server.Close()
	if found := s.Examine(t.Context(), caddymsa.Examination{}); doctor.Worst(found) != doctor.Wrong {
		t.Errorf("%+v", found)
	}
}

// refuse answers as S3 does, which to HEAD has no text.
func refuse(status int, code string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>no</Message></Error>`)
		}
		return true
	}
}
