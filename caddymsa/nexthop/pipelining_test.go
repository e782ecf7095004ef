package nexthop_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// singly is a hop that offers PIPELINING and says this, or nothing, to who pipelines: it loses what comes behind the first
// command of a flight, and hangs up if it is told to.
func singly(t *testing.T, word string, hangUp bool, messages *atomic.Int64, set func(*nexthop.Options)) sink {
	t.Helper()
	r := conversation(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "220 x\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			more := r.Buffered() > 0
			if more {
				_, _ = r.Discard(r.Buffered())
			}
			reply := "250 2.0.0 Ok\r\n"
			switch {
			case more && (hangUp || word != ""):
				_, _ = io.WriteString(c, word)
				return
			case strings.HasPrefix(line, "EHLO"):
				reply = "250-x\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
			case line == "DATA\r\n":
				_, _ = io.WriteString(c, "354 go\r\n")
				upTo(r, ".")
				messages.Add(1)
			}
			if _, err := io.WriteString(c, reply); err != nil {
				return
			}
		}
	})
	_, root := hoptest.Certificate(t)
	return toAddress(t, r.hosts[0].Address, root, func(o *nexthop.Options) {
		inClear(o)
		if set != nil {
			set(o)
		}
	})
}

// A hop that offers PIPELINING and cannot take it gets one command at a time, once it has shown that.
func TestNoPipeliningAfterAll(t *testing.T) {
	for word, attempts := range map[string]int{"": 3, "554 5.5.0 Error: improper command pipelining\r\n": 2, "503 SMTP synchronization error\r\n": 2} {
		var messages atomic.Int64
		r := singly(t, word, true, &messages, nil)
		for i := range attempts + 1 {
			d := letter()
			err := r.Deliver(t.Context(), d)
			if last := i >= attempts-1; last != (err == nil) {
				t.Errorf("%q, attempt %d: %v", word, i, err)
			} else if !last {
				wantTemporary(t, err, "")
				if f := nexthop.AsFailure(err); f == nil || f.Lane {
					t.Errorf("%q: the lane's: %v", word, err)
				}
			}
		}
		if messages.Load() != 2 {
			t.Errorf("%q: %d messages", word, messages.Load())
		}
	}
}

// It may be silent, too.
func TestPipeliningLost(t *testing.T) {
	taken := false
	for timeout := time.Second; !taken && timeout < 2*time.Minute; timeout *= 8 { // a busy machine is as silent
		var messages atomic.Int64
		r := singly(t, "", false, &messages, func(o *nexthop.Options) { o.Command = timeout })
		for range 3 {
			taken = r.Deliver(t.Context(), letter()) == nil
		}
	}
	if !taken {
		t.Error("not taken")
	}
}
