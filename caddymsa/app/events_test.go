package app

import (
	"context"
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A process that ends without time to wait for events says that some are left behind only where some are.
func TestEventsStopLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // what had no event yet ends a moment later
		core, logs := zapobserver.New(zap.ErrorLevel)
		ev := &events{log: zap.New(core), waiting: make(chan event, 1), done: make(chan struct{}), ready: make(chan struct{})}
		ev.start()
		ev.stop(ctx)
		if n := logs.Len(); n != 0 {
			t.Fatalf("%v", logs.All())
		}
	}
	core, logs := zapobserver.New(zap.ErrorLevel)
	ev := &events{log: zap.New(core), waiting: make(chan event, 1), done: make(chan struct{}), ready: make(chan struct{})}
	ev.emit("message_accepted", func() map[string]any { return nil })
	ev.stop(ctx) // nobody hands on
	if logs.FilterMessage("a handler of events does not end; it is left behind").Len() != 1 {
		t.Errorf("%v", logs.All())
	}
}

// What a next hop says is harmless in an event.
func TestEventText(t *testing.T) {
	data := attemptData(&queue.Attempt{Route: "relay", Copy: "journal"}, "550 a\r\nb\x1b[31m", queue.Answer{Reply: "550 \x00a\u009b", ID: "4X"})
	if data["error"] != "550 a b [31m" || data["reply"] != "550 a" || data["next_hop_id"] != "4X" || data["copy"] != "journal" {
		t.Errorf("%q", data)
	}
}
