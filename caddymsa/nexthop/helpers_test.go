package nexthop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const text = "Subject: test\r\n\r\nHello.\r\n"

func letter() *queue.Delivery { return msatest.NewDelivery([]byte(text), "bob@example.org") }

// sink delivers to hosts, as modules do.
type sink struct{ hosts []*nexthop.Hop }

func (s sink) Deliver(ctx context.Context, d *queue.Delivery) error {
	return nexthop.Deliver(ctx, s.hosts, d)
}

// to returns a sink to a hop, whose certificate is verified unless the hop has none.
func to(h *hoptest.Hop, set func(*nexthop.Options)) sink {
	return toAddress(h.T, h.Addr, h.Root, func(o *nexthop.Options) {
		o.LMTP = h.LMTP
		if h.Implicit {
			o.TLSMode = nexthop.TLSImplicit
		}
		if set != nil {
			set(o)
		}
	})
}

func toAddress(t testing.TB, address, root string, set func(*nexthop.Options)) sink {
	t.Helper()
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	o := &nexthop.Options{
		TLSMode: nexthop.TLSRequired, TLS: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12},
		Connect: 30 * time.Second, Command: time.Minute, Data: time.Minute, End: time.Minute,
		Idle: 16, IdleTimeout: 30 * time.Second, Messages: 100,
	}
	o.TLS.RootCAs.AppendCertsFromPEM(pem)
	if set != nil {
		set(o)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	h := nexthop.New("tcp", address, host, o)
	t.Cleanup(h.Close)
	return sink{[]*nexthop.Hop{h}}
}

// inClear is for hops without TLS.
func inClear(o *nexthop.Options) { o.TLSMode = nexthop.TLSOff }

func outcomes(t *testing.T, r sink, d *queue.Delivery) []error {
	t.Helper()
	err := r.Deliver(t.Context(), d)
	var all []error
	for _, rcpt := range d.Recipients {
		all = append(all, d.Outcome(rcpt, err))
	}
	return all
}

// wantReply checks for a reply "code class.subject.detail".
func wantReply(t *testing.T, err error, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	reply := nexthop.ReplyOf(err)
	if reply == nil || reply.Code != code || reply.EnhancedCode != enhanced {
		t.Errorf("want %d %v, have %v", code, enhanced, err)
	}
}

// wantTemporary checks that err is not a reply and says what.
func wantTemporary(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || msatest.IsPermanent(err) || nexthop.ReplyOf(err) != nil || !strings.Contains(err.Error(), what) {
		t.Errorf("want a temporary error with %q, have %v", what, err)
	}
}
