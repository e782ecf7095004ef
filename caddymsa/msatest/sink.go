package msatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// soon is how long a sink may take to give up; far more than it should need, on a machine with much else to do too.
const soon = time.Minute

// Sink is the conformance suite of sinks. open gives a sink that takes mail for
// any address at example.org, and a function that returns all that arrived so
// far; fields that were prepended on the way may stand in front. Run it with
// -race too.
//
//	func TestConformance(t *testing.T) {
//		msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
//			s := new(mine)
//			return s, s.all
//		})
//	}
func Sink(t *testing.T, open func(t testing.TB) (queue.Sink, func() [][]byte)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, queue.Sink, func() [][]byte)
	}{
		{"Messages", testSinkMessages},
		{"NullSender", testSinkNullSender},
		{"Recipients", testSinkRecipients},
		{"Concurrent", testSinkConcurrent},
		{"CancelledBefore", testSinkCancelledBefore},
		{"CancelledWithin", testSinkCancelledWithin},
		{"UnreadableMessage", testSinkUnreadable},
		{"MessageThatBreaksOff", testSinkBreaksOff},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink, fetch := open(t)
			c.test(t, sink, fetch)
		})
	}
}

// NewDelivery returns an attempt to deliver message to recipients, as alice.
func NewDelivery(message []byte, recipients ...string) *queue.Delivery {
	return newDelivery(int64(len(message)), func() (io.ReadSeekCloser, error) {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(message), io.NopCloser(nil)}, nil
	}, recipients...)
}

func newDelivery(size int64, open func() (io.ReadSeekCloser, error), recipients ...string) *queue.Delivery {
	e := &queue.Entry{
		ID: fmt.Sprintf("%016x", rand.Uint64()), Server: "msa.example.org", Accepted: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC), Size: size,
		Sender: "alice@example.org", ReturnPath: true, Body: "8BITMIME", User: "alice", RemoteIP: "192.0.2.1",
	}
	for _, r := range recipients {
		e.Recipients = append(e.Recipients, queue.Recipient{Address: r})
	}
	var all []*queue.Recipient
	for i := range e.Recipients {
		all = append(all, &e.Recipients[i])
	}
	return queue.NewDelivery(e, all, open)
}

// IsPermanent reports whether a sink's error fails a recipient for good.
func IsPermanent(err error) bool {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) {
		return reply.Code/100 == 5
	}
	marked := reflect.TypeOf(queue.Permanent(io.EOF))
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.TypeOf(err) == marked {
			return true
		}
	}
	return false
}

const head = "From: alice@example.org\r\nTo: bob@example.org\r\nSubject: test\r\n"

func messages() map[string]string {
	eight := make([]byte, 0, 20<<10)
	for i := range 20 << 10 {
		switch c := byte(i * 7); {
		case i%76 == 74:
			eight = append(eight, '\r')
		case i%76 == 75:
			eight = append(eight, '\n')
		case c == 0 || c == '\r' || c == '\n':
			eight = append(eight, 'x')
		default:
			eight = append(eight, c)
		}
	}
	line := strings.Repeat("0123456789", 7) + "\r\n"
	return map[string]string{
		"simple":       head + "\r\nHello.\r\n",
		"header only":  head + "\r\n",
		"eight bits":   head + "\r\n" + string(eight) + "\r\n",
		"dots":         head + "\r\n.\r\n..\r\n.a\r\n...b\r\n. \r\n.\r\n",
		"dots at once": ".\r\n.\r\n\r\n.\r\n",
		"empty lines":  head + strings.Repeat("\r\n", 1000),
		"long lines":   head + "\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 50),
		"many dots":    head + "\r\n" + strings.Repeat(".\r\n", 40000),
		"From line":    head + "\r\nFrom nobody\r\n>From nobody\r\n",
		"large":        head + "\r\n" + strings.Repeat(line, 5<<20/len(line)),
	}
}

func testSinkMessages(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	for name, m := range messages() {
		if err := deliverTo(t.Context(), sink, NewDelivery([]byte(m), "bob@example.org")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if countMessage(fetch(), m) != 1 {
			t.Errorf("%s: the message did not arrive once as it was", name)
		}
	}
}

func testSinkNullSender(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	m := head + "\r\nbounce\r\n"
	d := NewDelivery([]byte(m), "bob@example.org")
	d.Entry.Sender, d.Entry.Bounce, d.Entry.User, d.Entry.RemoteIP = "", true, "", ""
	if err := deliverTo(t.Context(), sink, d); err != nil {
		t.Fatal(err)
	}
	if countMessage(fetch(), m) != 1 {
		t.Error("the message did not arrive once as it was")
	}
}

func testSinkRecipients(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	m := head + "\r\nto many\r\n"
	d := NewDelivery([]byte(m), "bob@example.org", `"b o b"@example.org`, "carol@example.org", "dave+x@example.org")
	if err := deliverTo(t.Context(), sink, d); err != nil {
		t.Fatal(err)
	}
	if n := countMessage(fetch(), m); n != 1 && n != len(d.Recipients) {
		t.Errorf("%d copies arrived", n)
	}
}

func testSinkConcurrent(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	const workers, each = 8, 10
	message := func(w, i int) string {
		return fmt.Sprintf("%sX-Number: %d.%d\r\n\r\n%s", head, w, i, strings.Repeat("body\r\n", w*i*20))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := deliverTo(t.Context(), sink, NewDelivery([]byte(message(w, i)), "bob@example.org")); err != nil {
					t.Errorf("message %d.%d: %v", w, i, err)
				}
			}
		})
	}
	wg.Wait()
	all := fetch()
	for w := range workers {
		for i := range each {
			if n := countMessage(all, message(w, i)); n != 1 {
				t.Errorf("message %d.%d arrived %d times", w, i, n)
			}
		}
	}
}

func testSinkCancelledBefore(t *testing.T, sink queue.Sink, _ func() [][]byte) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	within(t, func() {
		// Success is no fault: it may have been quicker than the end.
		if err := deliverTo(ctx, sink, NewDelivery([]byte(head+"\r\n"), "bob@example.org")); IsPermanent(err) {
			t.Errorf("permanent: %v", err)
		}
	})
}

// A message that never ends, read until ctx does. Who does not heed ctx is stopped after a while,
// before all memory is taken.
func testSinkCancelledWithin(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const enough = 64 << 20
	lines := strings.Repeat("x\r\n", 10)
	var read atomic.Int64
	d := newDelivery(1<<20, func() (io.ReadSeekCloser, error) {
		return &brokenMessage{good: 256 << 10, then: func(p []byte) (int, error) {
			cancel()
			runtime.Gosched() // who stops the reader may be another goroutine
			n := copy(p, lines)
			if read.Add(int64(n)) > enough {
				t.Errorf("Deliver reads on after its context ended")
				return 0, errors.New("the context ended long ago")
			}
			return n, nil
		}}, nil
	}, "bob@example.org")
	checkNothing(t, ctx, sink, d, fetch)
}

func testSinkUnreadable(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	checkNothing(t, t.Context(), sink, newDelivery(1000, func() (io.ReadSeekCloser, error) {
		return nil, errors.New("the message cannot be opened")
	}, "bob@example.org"), fetch)
}

func testSinkBreaksOff(t *testing.T, sink queue.Sink, fetch func() [][]byte) {
	for _, good := range []int{0, 3, 1000, 32 << 10, 100 << 10} {
		for _, err := range []error{errors.New("the disk is broken"), io.ErrUnexpectedEOF} {
			checkNothing(t, t.Context(), sink, newDelivery(200<<10, func() (io.ReadSeekCloser, error) {
				return &brokenMessage{good: good, then: func([]byte) (int, error) { return 0, err }}, nil
			}, "bob@example.org"), fetch)
		}
	}
	// And the sink is none the worse for it.
	m := head + "\r\nstill alive\r\n"
	if err := deliverTo(t.Context(), sink, NewDelivery([]byte(m), "bob@example.org")); err != nil {
		t.Fatal(err)
	}
	if countMessage(fetch(), m) != 1 {
		t.Error("the message did not arrive once as it was")
	}
}

// checkNothing expects d to fail soon, not for good, and nothing to arrive: no
// sink may take half a message for a whole one.
func checkNothing(t *testing.T, ctx context.Context, sink queue.Sink, d *queue.Delivery, fetch func() [][]byte) {
	t.Helper()
	within(t, func() {
		t.Helper()
		if err := deliverTo(ctx, sink, d); err == nil || IsPermanent(err) {
			t.Errorf("want a temporary error, have %v", err)
		}
	})
	if all := fetch(); len(all) != 0 {
		t.Errorf("%d messages arrived, the first %.100q", len(all), all[0])
	}
}

func within(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > soon {
		t.Errorf("Deliver took %v", took)
	}
}

// deliverTo returns the outcome that is worst, as the queue would see it.
func deliverTo(ctx context.Context, sink queue.Sink, d *queue.Delivery) (worst error) {
	err := sink.Deliver(ctx, d)
	for _, r := range d.Recipients {
		if out := d.Outcome(r, err); worst == nil || IsPermanent(out) {
			worst = out
		}
	}
	return worst
}

// countMessage counts the message among all: what ends with it, and has only
// whole header fields before.
func countMessage(all [][]byte, message string) (n int) {
	for _, m := range all {
		trace, ok := bytes.CutSuffix(m, []byte(message))
		if ok && (len(trace) == 0 || bytes.HasSuffix(trace, []byte("\r\n"))) && !bytes.Contains(trace, []byte("\r\n\r\n")) &&
			!bytes.HasPrefix(trace, []byte("From:")) {
			n++
		}
	}
	return n
}

// brokenMessage is lines of x, good octets of them (rounded up to a line), and
// then whatever then says.
type brokenMessage struct {
	good, at int
	then     func([]byte) (int, error)
}

func (m *brokenMessage) Read(p []byte) (int, error) {
	if m.at >= m.good {
		return m.then(p)
	}
	n := copy(p, "xxxxxxxx\r\n"[m.at%10:])
	m.at += n
	return n, nil
}

func (m *brokenMessage) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.New("msatest: a sink may only seek to the start")
	}
	m.at = 0
	return 0, nil
}

func (m *brokenMessage) Close() error { return nil }
