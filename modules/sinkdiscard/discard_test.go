package sinkdiscard

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func TestDiscard(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s := &Discard{log: zap.New(core)}
	if err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("Hello\r\n"), "bob@example.org")); err != nil {
		t.Fatal(err)
	}
	if all := logs.All(); len(all) != 1 || all[0].ContextMap()["size"] != int64(7) {
		t.Errorf("%v", all)
	}
	broken := queue.NewDelivery(new(queue.Entry), nil, func() (io.ReadSeekCloser, error) { return nil, errors.New("broken") })
	if err := s.Deliver(context.Background(), broken); err == nil {
		t.Error("what cannot be read was thrown away")
	}
}
