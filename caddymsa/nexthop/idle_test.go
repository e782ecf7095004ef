package nexthop

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Of the connections that a burst needed all are closed soon but one, and that before servers tire of it.
func TestLastIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pool{max: 3, timeout: 30 * time.Second, last: 4 * time.Minute}
		park := func() *connection {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs); _ = theirs.Close() }()
			p := &connection{wire: newWire(ours, time.Second), hello: "x"}
			l.put(p)
			return p
		}
		idle := func() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.idle) }
		for range 4 {
			park()
			time.Sleep(time.Second)
		}
		if idle() != 3 {
			t.Errorf("%d of 4 are kept", idle())
		}
		time.Sleep(time.Minute)
		if idle() != 1 {
			t.Errorf("%d are kept after a minute", idle())
		}
		if l.get("y") != nil {
			t.Error("one was given away that said another name")
		}
		p := l.get("x")
		if p == nil || !p.rested {
			t.Fatal("none is left")
		}
		l.put(p)
		time.Sleep(4*time.Minute - time.Second)
		if idle() != 1 {
			t.Error("the last one was not kept")
		}
		time.Sleep(2 * time.Second)
		if idle() != 0 {
			t.Error("the last one was kept for too long")
		}
		park()
		l.close()
		if park(); idle() != 0 {
			t.Error("one is kept after the end")
		}
	})
}

// A hop that does not answer commands that come together gets them one at a time for an hour, unless it does not answer those.
func TestSingly(t *testing.T) {
	h := New("tcp", "192.0.2.1:25", "hop.example", new(Options))
	lost := func(pipelining bool) {
		p := &connection{wire: new(wire), offers: extensions{pipelining: pipelining}}
		(&transaction{delivery: &delivery{hop: h, ctx: t.Context()}, p: p}).unanswered(io.EOF)
	}
	now := time.Now()
	for i, c := range []struct {
		do   func()
		want bool
	}{
		{func() { lost(true) }, false},
		{func() { h.answers(true) }, false},
		{func() { lost(true) }, false},
		{func() { lost(true) }, true},
		{func() { lost(false) }, false},
		{func() { lost(true) }, false},
		{func() { lost(true) }, true},
	} {
		if c.do(); h.getsSingly(now) != c.want {
			t.Errorf("%d: %t", i, !c.want)
		}
	}
	if h.getsSingly(now.Add(singlyFor + time.Minute)) {
		t.Error("for ever")
	}
}
