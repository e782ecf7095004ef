package msatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Spool is the conformance suite of spools. open opens the spool that lies in dir
// and finds there what an earlier one left; each call for the same directory
// comes after the last one's Close. Run it with -race too.
//
//	func TestConformance(t *testing.T) {
//		msatest.Spool(t, func(t testing.TB, dir string) queue.OpenSpool {
//			s, err := mine.Open(dir)
//			if err != nil {
//				t.Fatal(err)
//			}
//			return s
//		})
//	}
func Spool(t *testing.T, open func(t testing.TB, dir string) queue.OpenSpool) {
	for _, c := range []struct {
		name string
		test func(*spoolTest)
	}{
		{"Commit", testCommit},
		{"Abort", testAbort},
		{"DraftReader", testDraftReader},
		{"Sizes", testSizes},
		{"Seek", testSeek},
		{"SameID", testSameID},
		{"Order", testOrder},
		{"Exclusive", testExclusive},
		{"Record", testRecord},
		{"RecordDeletes", testRecordDeletes},
		{"Release", testRelease},
		{"Held", testHeld},
		{"Operator", testOperator},
		{"List", testList},
		{"Notify", testNotify},
		{"Reopen", testReopen},
		{"Closed", testClosed},
		{"Cancelled", testCancelled},
		{"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &spoolTest{T: t, dir: t.TempDir(), open: open}
			s.OpenSpool = open(t, s.dir)
			defer func() { s.Close() }()
			c.test(s)
		})
	}
}

// spoolTest is a test with its spool.
type spoolTest struct {
	*testing.T
	queue.OpenSpool
	dir  string
	open func(testing.TB, string) queue.OpenSpool
}

var (
	ctx = context.Background()
	// noon is when the tests take place.
	noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

func (s *spoolTest) reopen() {
	s.Helper()
	if err := s.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	s.OpenSpool = s.open(s, s.dir)
}

func entry(id string, next time.Time) *queue.Entry {
	return &queue.Entry{
		ID: id, Server: "msa.example.org", Accepted: noon, Size: 5,
		Sender: "alice@example.org", ReturnPath: true, User: "alice",
		Attributes: map[string]string{"dept": "sales"},
		Recipients: []queue.Recipient{{Address: "bob@example.net"}, {Address: `"a b"@example.com`, Notify: []string{"FAILURE"}}},
		Next:       next,
	}
}

// body makes octets that do not repeat soon, so that a mix-up shows.
func body(seed, size int) []byte {
	b := make([]byte, size)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func (s *spoolTest) commit(e *queue.Entry, header string, b []byte) {
	s.Helper()
	d, err := s.Create(ctx)
	if err != nil {
		s.Fatalf("Create: %v", err)
	}
	if n, err := d.Write(b); n != len(b) || err != nil {
		s.Fatalf("Write: %d, %v", n, err)
	}
	if err := d.Commit(ctx, e, []byte(header)); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	d.Abort() // does nothing now
}

func (s *spoolTest) lease(now time.Time) queue.Lease {
	s.Helper()
	l, _, err := s.Lease(ctx, now)
	if err != nil {
		s.Fatalf("Lease: %v", err)
	}
	return l
}

// none wants nothing to be due, and the next at a time.
func (s *spoolTest) none(now, next time.Time) {
	s.Helper()
	l, at, err := s.Lease(ctx, now)
	if err == nil {
		s.Fatalf("Lease gave %s, wanted ErrNoneDue", l.Entry().ID)
	}
	if !errors.Is(err, queue.ErrNoneDue) {
		s.Fatalf("Lease: %v, wanted ErrNoneDue", err)
	}
	if !at.Equal(next) {
		s.Fatalf("the next is due %v, wanted %v", at, next)
	}
}

func (s *spoolTest) message(l queue.Lease) []byte {
	s.Helper()
	r, err := l.Open()
	if err != nil {
		s.Fatalf("Open: %v", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		s.Fatalf("read: %v", err)
	}
	return b
}

func (s *spoolTest) ids() (ids []string) {
	s.Helper()
	if err := s.List(ctx, "", func(e *queue.Entry) bool { ids = append(ids, e.ID); return true }); err != nil {
		s.Fatalf("List: %v", err)
	}
	return ids
}

func (s *spoolTest) wantIDs(want ...string) {
	s.Helper()
	if got := s.ids(); !slices.Equal(got, want) {
		s.Fatalf("entries %q, wanted %q", got, want)
	}
}

func deliver(e *queue.Entry) *queue.Entry {
	for i := range e.Recipients {
		e.Recipients[i].State = queue.Delivered
	}
	return e
}

func testCommit(s *spoolTest) {
	s.none(noon, time.Time{})
	e := entry("Q1", noon)
	s.commit(e, "Received: here\r\n", []byte("Subject: hi\r\n\r\nbody\r\n"))
	l := s.lease(noon)
	if got := l.Entry(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		s.Fatalf("entry\n%+v, wanted\n%+v", got, e)
	}
	if got := string(s.message(l)); got != "Received: here\r\nSubject: hi\r\n\r\nbody\r\n" {
		s.Fatalf("message %q", got)
	}
}

func testAbort(s *spoolTest) {
	for _, size := range []int{0, 10, 300 << 10} {
		d, err := s.Create(ctx)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := d.Write(body(1, size)); err != nil {
			s.Fatal(err)
		}
		d.Abort()
		d.Abort()
		if err := d.Commit(ctx, entry("Q1", noon), nil); err == nil {
			s.Fatal("an aborted draft was committed")
		}
	}
	s.wantIDs()
	s.reopen()
	s.wantIDs()
	s.none(noon, time.Time{})
}

func testDraftReader(s *spoolTest) {
	// Policies read the message before it is accepted, whatever its size, and go on.
	d, err := s.Create(ctx)
	if err != nil {
		s.Fatal(err)
	}
	var written []byte
	var open []io.ReadCloser
	var wants [][]byte
	for i, size := range []int{100, 5 << 10, 20 << 10, 100 << 10, 300 << 10, 1} {
		b := body(i, size)
		if _, err := d.Write(b); err != nil {
			s.Fatal(err)
		}
		written = append(written, b...)
		for range 2 { // twice, and one is read only at the end
			r, err := d.Reader()
			if err != nil {
				s.Fatal(err)
			}
			open, wants = append(open, r), append(wants, bytes.Clone(written))
		}
		got, err := io.ReadAll(open[len(open)-1])
		if err != nil || !bytes.Equal(got, written) {
			s.Fatalf("after %d octets the draft reads as %d others: %v", len(written), len(got), err)
		}
		open[len(open)-1].Close()
		open, wants = open[:len(open)-1], wants[:len(wants)-1]
	}
	if err := d.Commit(ctx, entry("Q1", noon), nil); err != nil {
		s.Fatal(err)
	}
	for i := range 5 { // new drafts must not write into what is still read
		s.commit(entry(fmt.Sprintf("R%d", i), noon.Add(time.Hour)), "", body(100+i, 200<<10))
	}
	for i, r := range open {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, wants[i]) {
			s.Errorf("reader %d: other octets than were written: %v", i, err)
		}
		r.Close()
	}
	if got := s.message(s.lease(noon)); !bytes.Equal(got, written) {
		s.Error("the message has other octets than were written")
	}
}

func testSizes(s *spoolTest) {
	sizes := []int{0, 1, 4096, 8 << 10, 8<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 3 << 20}
	header := strings.Repeat("Received: by a long chain of servers\r\n", 100)
	for i, size := range sizes {
		d, err := s.Create(ctx)
		if err != nil {
			s.Fatal(err)
		}
		for b, step := body(i, size), 1+i*977; len(b) > 0; { // in pieces of many sizes
			n := min(step, len(b))
			if _, err := d.Write(b[:n]); err != nil {
				s.Fatal(err)
			}
			b = b[n:]
		}
		if err := d.Commit(ctx, entry(fmt.Sprintf("Q%02d", i), noon.Add(time.Duration(i))), []byte(header)); err != nil {
			s.Fatal(err)
		}
	}
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		var leases []queue.Lease
		for i, size := range sizes {
			l := s.lease(noon.Add(time.Hour))
			leases = append(leases, l)
			if want := append([]byte(header), body(i, size)...); !bytes.Equal(s.message(l), want) {
				s.Errorf("%s of %d octets came back changed", l.Entry().ID, size)
			}
		}
		for _, l := range leases {
			l.Release()
		}
	}
}

func testSeek(s *spoolTest) {
	for i, size := range []int{5000, 500 << 10} {
		id := fmt.Sprintf("Q%d", i)
		s.commit(entry(id, noon), "Received: x\r\n", body(i, size))
		want := append([]byte("Received: x\r\n"), body(i, size)...)
		l := s.lease(noon)
		r, err := l.Open()
		if err != nil {
			s.Fatal(err)
		}
		other, err := l.Open() // readers do not disturb one another
		if err != nil {
			s.Fatal(err)
		}
		if end, err := r.Seek(0, io.SeekEnd); err != nil || end != int64(len(want)) {
			s.Errorf("the end is at %d (%v), wanted %d", end, err, len(want))
		}
		for _, at := range []int64{0, 5, 12, 13, 14, int64(len(want)) - 1, 3} {
			if _, err := r.Seek(at, io.SeekStart); err != nil {
				s.Fatal(err)
			}
			got := make([]byte, min(100, int64(len(want))-at))
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want[at:at+int64(len(got))]) {
				s.Errorf("other octets at %d: %v", at, err)
			}
		}
		if got, err := io.ReadAll(other); err != nil || !bytes.Equal(got, want) {
			s.Errorf("a second reader: %v", err)
		}
		r.Close()
		other.Close()
		if err := l.Record(ctx, deliver(l.Entry())); err != nil {
			s.Fatal(err)
		}
	}
}

func testSameID(s *spoolTest) {
	s.commit(entry("Q1", noon), "", []byte("first"))
	d, err := s.Create(ctx)
	if err != nil {
		s.Fatal(err)
	}
	defer d.Abort()
	_, _ = d.Write([]byte("second"))
	if err := d.Commit(ctx, entry("Q1", noon), nil); err == nil {
		s.Error("a second entry took the id of the first")
	}
	if got := string(s.message(s.lease(noon))); got != "first" {
		s.Errorf("message %q", got)
	}
}

func testOrder(s *spoolTest) {
	for i, minutes := range []int{5, 1, 9, 3, 7} {
		s.commit(entry(fmt.Sprintf("Q%d", i), noon.Add(time.Duration(minutes)*time.Minute)), "", nil)
	}
	s.none(noon, noon.Add(time.Minute))
	var got []string
	for range 4 {
		l := s.lease(noon.Add(8 * time.Minute))
		got = append(got, l.Entry().ID)
	}
	if want := []string{"Q1", "Q3", "Q0", "Q4"}; !slices.Equal(got, want) {
		s.Errorf("leased %q, wanted %q", got, want)
	}
	s.none(noon.Add(8*time.Minute), noon.Add(9*time.Minute))
	if id := s.lease(noon.Add(9 * time.Minute)).Entry().ID; id != "Q2" { // due means due, to the nanosecond
		s.Errorf("leased %s", id)
	}
	s.none(noon.Add(time.Hour), time.Time{})
}

func testExclusive(s *spoolTest) {
	const entries, workers = 50, 8
	for i := range entries {
		s.commit(entry(fmt.Sprintf("Q%02d", i), noon), "", nil)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				l, _, err := s.Lease(ctx, noon)
				if err != nil {
					return
				}
				mu.Lock()
				seen[l.Entry().ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != entries {
		s.Errorf("%d of %d entries were leased", len(seen), entries)
	}
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was leased %d times at once", id, n)
		}
	}
	s.reopen() // as if the process had died with all of them leased
	if id := s.lease(noon).Entry().ID; id != "Q00" {
		s.Errorf("after a restart %s came first", id)
	}
}

func testRecord(s *spoolTest) {
	s.commit(entry("Q1", noon), "H: 1\r\n", []byte("text"))
	l := s.lease(noon)
	e := l.Entry()
	e.Recipients[0].State = queue.Delivered
	e.Recipients[1].Error, e.Recipients[1].Code, e.Recipients[1].Status = "later", 451, "4.2.0"
	e.Attempts, e.Next = 1, noon.Add(time.Minute)
	if err := l.Record(ctx, e); err != nil {
		s.Fatalf("Record: %v", err)
	}
	l.Release() // does nothing now
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		s.none(noon, noon.Add(time.Minute))
		l = s.lease(noon.Add(time.Minute))
		if got := l.Entry(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
			s.Errorf("entry\n%+v, wanted\n%+v", got, e)
		}
		if got := string(s.message(l)); got != "H: 1\r\ntext" {
			s.Errorf("message %q", got)
		}
		s.none(noon.Add(time.Hour), time.Time{})
		l.Release()
	}
}

func testRecordDeletes(s *spoolTest) {
	for i, size := range []int{10, 400 << 10} {
		s.commit(entry(fmt.Sprintf("Q%d", i), noon), "", body(i, size))
		l := s.lease(noon)
		r, err := l.Open()
		if err != nil {
			s.Fatal(err)
		}
		e := deliver(l.Entry())
		e.Recipients[1].State = queue.Failed
		if err := l.Record(ctx, e); err != nil {
			s.Fatalf("Record: %v", err)
		}
		r.Close()
		s.wantIDs()
		if _, err := s.Get(ctx, e.ID); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Get: %v, wanted ErrNotFound", err)
		}
		if err := s.Update(ctx, e.ID, func(e *queue.Entry) *queue.Entry { return e }); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Update: %v, wanted ErrNotFound", err)
		}
	}
	s.reopen()
	s.wantIDs()
	s.none(noon.Add(time.Hour), time.Time{})
}

func testRelease(s *spoolTest) {
	s.commit(entry("Q1", noon), "", nil)
	l := s.lease(noon)
	s.none(noon.Add(time.Hour), time.Time{})
	l.Entry().Attempts = 7 // is not stored
	l.Release()
	l.Release()
	if got := s.lease(noon).Entry(); got.ID != "Q1" || got.Attempts != 0 {
		s.Errorf("released as %+v", got)
	}
	s.none(noon, time.Time{})
}

func testHeld(s *spoolTest) {
	e := entry("Q1", noon)
	e.Held = "the return path leads nowhere"
	s.commit(e, "", nil)
	s.none(noon.Add(time.Hour), time.Time{})
	s.reopen()
	s.none(noon.Add(time.Hour), time.Time{})
	got, err := s.Get(ctx, "Q1")
	if err != nil || got.Held != e.Held {
		s.Fatalf("Get: %+v, %v", got, err)
	}
	if err := s.Update(ctx, "Q1", func(e *queue.Entry) *queue.Entry { e.Held = ""; return e }); err != nil {
		s.Fatal(err)
	}
	l := s.lease(noon)
	e = l.Entry()
	e.Held = "by a worker"
	if err := l.Record(ctx, e); err != nil {
		s.Fatal(err)
	}
	s.none(noon.Add(time.Hour), time.Time{})
}

func testOperator(s *spoolTest) {
	s.commit(entry("Q1", noon.Add(time.Hour)), "", body(1, 10))
	s.commit(entry("Q2", noon.Add(2*time.Hour)), "", body(2, 300<<10))
	if _, err := s.Get(ctx, "Q"); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("Get: %v, wanted ErrNotFound", err)
	}
	// Deliver now.
	if err := s.Update(ctx, "Q2", func(e *queue.Entry) *queue.Entry { e.Next = noon; return e }); err != nil {
		s.Fatal(err)
	}
	l := s.lease(noon)
	if l.Entry().ID != "Q2" || !bytes.Equal(s.message(l), body(2, 300<<10)) {
		s.Error("not the message that was to be delivered now")
	}
	called := false
	err := s.Update(ctx, "Q2", func(e *queue.Entry) *queue.Entry { called = true; return e })
	if !errors.Is(err, queue.ErrLeased) || called {
		s.Errorf("Update of a leased entry: %v, wanted ErrLeased", err)
	}
	l.Release()
	// Drop.
	if err := s.Update(ctx, "Q2", func(*queue.Entry) *queue.Entry { return nil }); err != nil {
		s.Fatal(err)
	}
	s.wantIDs("Q1")
	s.none(noon, noon.Add(time.Hour))
	s.reopen()
	s.wantIDs("Q1")
	s.none(noon, noon.Add(time.Hour))
}

func testList(s *spoolTest) {
	var want []string
	for i := range 250 {
		id := fmt.Sprintf("Q%03d", i)
		want = append(want, id)
		s.commit(entry(id, noon), "", nil)
	}
	l := s.lease(noon)
	s.wantIDs(want...) // leased ones too
	l.Release()
	var got []string
	if err := s.List(ctx, "Q100", func(e *queue.Entry) bool { got = append(got, e.ID); return len(got) < 120 }); err != nil {
		s.Fatal(err)
	}
	if !slices.Equal(got, want[101:221]) {
		s.Errorf("a part of the list: %q", got)
	}
	// The spool may be used in between.
	if err := s.List(ctx, "Q248", func(e *queue.Entry) bool {
		_, err := s.Get(ctx, e.ID)
		if err == nil {
			err = s.Update(ctx, e.ID, func(*queue.Entry) *queue.Entry { return nil })
		}
		if err != nil {
			s.Error(err)
		}
		return true
	}); err != nil {
		s.Fatal(err)
	}
	s.wantIDs(want[:249]...)
}

func testNotify(s *spoolTest) {
	n, ok := s.OpenSpool.(queue.Notifier)
	if !ok {
		s.Skip("it is no queue.Notifier")
	}
	woken := func(what string) {
		s.Helper()
		select {
		case <-n.Notify():
		default:
			s.Errorf("not notified of %s", what)
		}
		select {
		case <-n.Notify():
			s.Errorf("notified twice of %s", what)
		default:
		}
	}
	s.commit(entry("Q1", noon), "", nil)
	woken("a commit")
	l := s.lease(noon)
	l.Release()
	woken("a release")
	l = s.lease(noon)
	if err := l.Record(ctx, l.Entry()); err != nil {
		s.Fatal(err)
	}
	woken("a record")
	if err := s.Update(ctx, "Q1", func(e *queue.Entry) *queue.Entry { return e }); err != nil {
		s.Fatal(err)
	}
	woken("an update")
}

func testReopen(s *spoolTest) {
	for i := range 40 {
		s.commit(entry(fmt.Sprintf("Q%02d", i), noon.Add(time.Duration(i))), "H\r\n", body(i, i*i*200))
	}
	for i := range 10 {
		l := s.lease(noon.Add(time.Hour))
		if i%2 == 0 {
			if err := l.Record(ctx, deliver(l.Entry())); err != nil {
				s.Fatal(err)
			}
		}
	}
	for range 3 {
		s.reopen()
		var want []string
		for i := range 40 {
			if i >= 10 || i%2 == 1 {
				want = append(want, fmt.Sprintf("Q%02d", i))
			}
		}
		s.wantIDs(want...)
		for _, id := range want {
			l := s.lease(noon.Add(time.Hour))
			var i int
			_, _ = fmt.Sscanf(id, "Q%d", &i)
			if l.Entry().ID != id || !bytes.Equal(s.message(l), append([]byte("H\r\n"), body(i, i*i*200)...)) {
				s.Errorf("%s came back changed", id)
			}
		}
		s.none(noon.Add(time.Hour), time.Time{})
	}
}

func testClosed(s *spoolTest) {
	s.commit(entry("Q1", noon), "", nil)
	d, err := s.Create(ctx)
	if err != nil {
		s.Fatal(err)
	}
	l := s.lease(noon)
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	for name, err := range map[string]error{
		"Create": func() error { _, err := s.Create(ctx); return err }(),
		"Lease":  func() error { _, _, err := s.Lease(ctx, noon); return err }(),
		"Commit": d.Commit(ctx, entry("Q2", noon), nil),
		"Record": l.Record(ctx, deliver(entry("Q1", noon))),
		"Get":    func() error { _, err := s.Get(ctx, "Q1"); return err }(),
		"List":   s.List(ctx, "", func(*queue.Entry) bool { return true }),
		"Update": s.Update(ctx, "Q1", func(e *queue.Entry) *queue.Entry { return nil }),
	} {
		if !errors.Is(err, queue.ErrClosed) {
			s.Errorf("%s after Close: %v, wanted ErrClosed", name, err)
		}
	}
	l.Release()
	d.Abort()
	s.OpenSpool = s.open(s, s.dir)
	s.wantIDs("Q1")
}

func testCancelled(s *spoolTest) {
	cancelled, cancel := context.WithCancel(ctx)
	d, err := s.Create(ctx)
	if err != nil {
		s.Fatal(err)
	}
	_, _ = d.Write([]byte("x"))
	cancel()
	if err := d.Commit(cancelled, entry("Q1", noon), nil); !errors.Is(err, context.Canceled) {
		s.Errorf("Commit: %v, wanted context.Canceled", err)
	}
	d.Abort()
	s.wantIDs()
	if _, _, err := s.Lease(cancelled, noon); !errors.Is(err, context.Canceled) && !errors.Is(err, queue.ErrNoneDue) {
		s.Errorf("Lease: %v", err)
	}
}

func testConcurrent(s *spoolTest) {
	// Clients, workers and an operator at once; each message is delivered once and whole.
	const clients, each = 8, 15
	var mu sync.Mutex
	delivered := make(map[string]int)
	var committed, working sync.WaitGroup
	for c := range clients {
		committed.Go(func() {
			for i := range each {
				d, err := s.Create(ctx)
				if err != nil {
					s.Error(err)
					return
				}
				seed := c*each + i
				if _, err := d.Write(body(seed, seed*seed*11)); err != nil {
					s.Error(err)
				}
				if i%5 == 4 {
					d.Abort()
					continue
				}
				if err := d.Commit(ctx, entry(fmt.Sprintf("Q%04d", seed), noon), []byte("H\r\n")); err != nil {
					s.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 4 {
		working.Go(func() {
			for {
				l, _, err := s.Lease(ctx, noon)
				if errors.Is(err, queue.ErrNoneDue) {
					select {
					case <-done:
						return
					default:
						continue
					}
				}
				if err != nil {
					s.Error(err)
					return
				}
				e := l.Entry()
				if e.Attempts == 0 { // fails the first time
					e.Attempts++
				} else {
					var seed int
					_, _ = fmt.Sscanf(e.ID, "Q%d", &seed)
					if !bytes.Equal(s.message(l), append([]byte("H\r\n"), body(seed, seed*seed*11)...)) {
						s.Errorf("%s came back changed", e.ID)
					}
					mu.Lock()
					delivered[e.ID]++
					mu.Unlock()
					deliver(e)
				}
				if err := l.Record(ctx, e); err != nil {
					s.Error(err)
				}
			}
		})
	}
	working.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.ids()
			}
		}
	})
	committed.Wait()
	// Whoever finds nothing due now has nothing left to wait for, once all are done.
	for {
		mu.Lock()
		n := len(delivered)
		mu.Unlock()
		if n == clients*each*4/5 || s.Failed() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	working.Wait()
	for id, n := range delivered {
		if n != 1 {
			s.Errorf("%s was delivered %d times", id, n)
		}
	}
	s.wantIDs()
}
