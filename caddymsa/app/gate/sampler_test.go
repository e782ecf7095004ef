package gate

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// A stranger writes no more than so many lines of one cause a minute; the rest are counted and told.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := zapobserver.New(zap.DebugLevel)
		log, s := zap.New(core), newSampler()
		network := caddymsa.ClientNetwork(guesser)
		written := 0
		for range 100_000 {
			if s.Stranger(log, "MAIL refused 530", network) {
				written++
			}
		}
		if written != strangerLines || !s.Stranger(log, "RCPT refused 530", network) || !s.Stranger(log, "MAIL refused 530", caddymsa.ClientNetwork(owner)) {
			t.Errorf("%d lines, or another cause or network has none", written)
		}
		time.Sleep(sampleWindow + time.Second)
		synctest.Wait()
		said := logs.FilterMessage("log lines left out").All()
		if len(said) != 1 || said[0].ContextMap()["count"] != int64(100_000-strangerLines) || said[0].ContextMap()["from"] != "192.0.2.1/32" {
			t.Errorf("said %+v", said)
		}
		if !s.Stranger(log, "MAIL refused 530", network) {
			t.Error("the next minute has none")
		}
		time.Sleep(sampleWindow + time.Second)
		synctest.Wait()
		if len(s.lines) != 0 || logs.Len() != 1 {
			t.Errorf("%d keys are left, %d lines", len(s.lines), logs.Len())
		}
	})
}

// Nor do all strangers together, and what is remembered of them is bounded.
func TestSamplerOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := zap.NewNop(), newSampler()
		written := 0
		for i := range 50_000 {
			network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			if s.Stranger(log, fmt.Sprint("cause ", i%3), network) {
				written++
			}
		}
		if written > 3*causeLines || len(s.lines) > maxSamples+3 {
			t.Errorf("%d lines, %d keys", written, len(s.lines))
		}
		for i := range clientLines { // who has authenticated has not to suffer for them
			if !s.Client(log, "RCPT refused 550", caddymsa.ClientNetwork(owner)) {
				t.Fatal("left out:", i)
			}
		}
		time.Sleep(sampleWindow + time.Second)
		synctest.Wait()
	})
}
