package sinks3

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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
