package spoolfile

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func freshOf(size int) *freshBody {
	return &freshBody{head: []byte("h"), buf: make([]byte, 0, size-1), readers: new(atomic.Int32)}
}

// What is kept of bodies is bounded: what came first stays, unless it does not go.
func TestFreshIsBounded(t *testing.T) {
	k := fresh{buffers: new(buffers)}
	first, now := new(entry), time.Now()
	k.put(first, freshOf(freshOctets/10), now)
	for range 100 {
		k.put(new(entry), freshOf(freshOctets/10), now)
	}
	if len(k.m) != 10 || k.m[first] == nil || k.octets > freshOctets {
		t.Errorf("%d are kept, %d octets, the first: %v", len(k.m), k.octets, k.m[first] != nil)
	}
	now = now.Add(freshTime)
	k.put(new(entry), freshOf(freshOctets/10), now)
	if len(k.m) != 10 || k.m[first] != nil {
		t.Errorf("%d are kept, the first, which does not go: %v", len(k.m), k.m[first] != nil)
	}
	for e := range k.m {
		k.forget(e)
	}
	if k.octets != 0 || k.first != nil || k.last != nil {
		t.Errorf("%d octets are kept of nothing", k.octets)
	}
}

// A message just committed is read without the store, and is what was written; nothing stays of what has ended or is put off.
func TestFreshUntilEnded(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := bytes.Repeat([]byte("0123456789"), 400)
	for _, state := range []queue.State{queue.Delivered, queue.Pending} {
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = d.Write(text)
		a := testAccept("Q" + string(state))
		if err := d.Commit(background, a); err != nil {
			t.Fatal(err)
		}
		l, _, err := s.Lease(background, noon, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.Open(background)
		if err != nil {
			t.Fatal(err)
		}
		if m.(*message).tail == nil {
			t.Error("it was read from the store")
		}
		if err := iotest.TestReader(m, append(a.Header, text...)); err != nil {
			t.Error(err)
		}
		if err := l.Record(background, as(l, state)); err != nil {
			t.Fatal(err)
		}
		// Somebody still reads: the buffer is not used for another message.
		other, _ := s.Create(background)
		_, _ = other.Write(bytes.Repeat([]byte("x"), 4000))
		_, _ = m.Seek(0, io.SeekStart)
		if got, err := io.ReadAll(m); err != nil || !bytes.Equal(got, append(a.Header, text...)) {
			t.Errorf("after it was recorded: %.20q, %v", got, err)
		}
		m.Close()
		other.Abort()
		if len(s.fresh.m) != 0 {
			t.Errorf("%v: %d are kept", state, len(s.fresh.m))
		}
	}
}
