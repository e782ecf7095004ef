package app

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	oursasl "github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func unb64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scramClient(t *testing.T) func(user, password string) sasl.Client {
	return func(user, password string) sasl.Client {
		c, err := oursasl.NewSCRAMClient(user, password)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// failing is a sink that says err to everyone.
func failing(err error) func(context.Context, *queue.Delivery, *queue.Recipient) error {
	return func(context.Context, *queue.Delivery, *queue.Recipient) error { return err }
}

func errPermanent() error { return queue.Permanent(errors.New("no such directory")) }

// dialTLS shakes hands, without a word of SMTP.
func dialTLS(in *instance) (net.Conn, error) {
	nc, err := net.Dial("unix", in.dir+"/tls")
	if err != nil {
		return nil, err
	}
	conn := tls.Client(nc, in.tls)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return conn, nil
}
