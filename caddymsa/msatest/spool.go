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
		{"Commit", (*spoolTest).testCommit},
		{"Abort", (*spoolTest).testAbort},
		{"DraftReader", (*spoolTest).testDraftReader},
		{"Sizes", (*spoolTest).testSizes},
		{"Seek", (*spoolTest).testSeek},
		{"SameID", (*spoolTest).testSameID},
		{"Order", (*spoolTest).testOrder},
		{"Turns", (*spoolTest).testTurns},
		{"Priority", (*spoolTest).testPriority},
		{"Postpone", (*spoolTest).testPostpone},
		{"DeadLetter", (*spoolTest).testDeadLetter},
		{"Exclusive", (*spoolTest).testExclusive},
		{"Record", (*spoolTest).testRecord},
		{"RecordDeletes", (*spoolTest).testRecordDeletes},
		{"Release", (*spoolTest).testRelease},
		{"Held", (*spoolTest).testHeld},
		{"Operator", (*spoolTest).testOperator},
		{"List", (*spoolTest).testList},
		{"Notify", (*spoolTest).testNotify},
		{"Reopen", (*spoolTest).testReopen},
		{"Closed", (*spoolTest).testClosed},
		{"Cancelled", (*spoolTest).testCancelled},
		{"Concurrent", (*spoolTest).testConcurrent},
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
	background = context.Background()
	// spoolNoon is when the tests take place.
	spoolNoon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

func (s *spoolTest) reopen() {
	s.Helper()
	if err := s.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
	s.OpenSpool = s.open(s, s.dir)
}

func spoolEntry(id string, next time.Time) *queue.Entry {
	return &queue.Entry{
		ID: id, Server: "msa.example.org", Accepted: spoolNoon, Size: 5,
		Sender: "alice@example.org", ReturnPath: true, User: "alice",
		Attributes: map[string]string{"dept": "sales"},
		Recipients: []queue.Recipient{{Address: "bob@example.net"}, {Address: `"a b"@example.com`, Notify: []string{"FAILURE"}}},
		Next:       next,
	}
}

// body makes octets that do not repeat soon, so that a mix-up shows.
func spoolBody(seed, size int) []byte {
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
	d, err := s.Create(background)
	if err != nil {
		s.Fatalf("Create: %v", err)
	}
	if n, err := d.Write(b); n != len(b) || err != nil {
		s.Fatalf("Write: %d, %v", n, err)
	}
	if err := d.Commit(background, e, []byte(header)); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	d.Abort() // does nothing now
}

func (s *spoolTest) lease(now time.Time) queue.Lease {
	s.Helper()
	l, _, err := s.Lease(background, now)
	if err != nil {
		s.Fatalf("Lease: %v", err)
	}
	return l
}

// none wants nothing to be due, and the next at a time.
func (s *spoolTest) none(now, next time.Time) {
	s.Helper()
	l, at, err := s.Lease(background, now)
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
	if err := s.List(background, "", func(e *queue.Entry) bool { ids = append(ids, e.ID); return true }); err != nil {
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

func delivered(e *queue.Entry) *queue.Entry {
	for i := range e.Recipients {
		e.Recipients[i].State = queue.Delivered
	}
	return e
}

func (s *spoolTest) testCommit() {
	s.none(spoolNoon, time.Time{})
	e := spoolEntry("Q1", spoolNoon)
	s.commit(e, "Received: here\r\n", []byte("Subject: hi\r\n\r\nbody\r\n"))
	l := s.lease(spoolNoon)
	if got := l.Entry(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		s.Fatalf("entry\n%+v, wanted\n%+v", got, e)
	}
	if got := string(s.message(l)); got != "Received: here\r\nSubject: hi\r\n\r\nbody\r\n" {
		s.Fatalf("message %q", got)
	}
}

func (s *spoolTest) testAbort() {
	for _, size := range []int{0, 10, 300 << 10} {
		d, err := s.Create(background)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := d.Write(spoolBody(1, size)); err != nil {
			s.Fatal(err)
		}
		d.Abort()
		d.Abort()
		if err := d.Commit(background, spoolEntry("Q1", spoolNoon), nil); err == nil {
			s.Fatal("an aborted draft was committed")
		}
	}
	s.wantIDs()
	s.reopen()
	s.wantIDs()
	s.none(spoolNoon, time.Time{})
}

func (s *spoolTest) testDraftReader() {
	// Policies read the message before it is accepted, whatever its size, and go on.
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	var written []byte
	var open []io.ReadCloser
	var wants [][]byte
	for i, size := range []int{100, 5 << 10, 20 << 10, 100 << 10, 300 << 10, 1} {
		b := spoolBody(i, size)
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
	if err := d.Commit(background, spoolEntry("Q1", spoolNoon), nil); err != nil {
		s.Fatal(err)
	}
	for i := range 5 { // new drafts must not write into what is still read
		s.commit(spoolEntry(fmt.Sprintf("R%d", i), spoolNoon.Add(time.Hour)), "", spoolBody(100+i, 200<<10))
	}
	for i, r := range open {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, wants[i]) {
			s.Errorf("reader %d: other octets than were written: %v", i, err)
		}
		r.Close()
	}
	if got := s.message(s.lease(spoolNoon)); !bytes.Equal(got, written) {
		s.Error("the message has other octets than were written")
	}
}

func (s *spoolTest) testSizes() {
	sizes := []int{0, 1, 4096, 8 << 10, 8<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 3 << 20}
	header := strings.Repeat("Received: by a long chain of servers\r\n", 100)
	for i, size := range sizes {
		d, err := s.Create(background)
		if err != nil {
			s.Fatal(err)
		}
		for b, step := spoolBody(i, size), 1+i*977; len(b) > 0; { // in pieces of many sizes
			n := min(step, len(b))
			if _, err := d.Write(b[:n]); err != nil {
				s.Fatal(err)
			}
			b = b[n:]
		}
		if err := d.Commit(background, spoolEntry(fmt.Sprintf("Q%02d", i), spoolNoon.Add(time.Duration(i))), []byte(header)); err != nil {
			s.Fatal(err)
		}
	}
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		var leases []queue.Lease
		for i, size := range sizes {
			l := s.lease(spoolNoon.Add(time.Hour))
			leases = append(leases, l)
			if want := append([]byte(header), spoolBody(i, size)...); !bytes.Equal(s.message(l), want) {
				s.Errorf("%s of %d octets came back changed", l.Entry().ID, size)
			}
		}
		for _, l := range leases {
			l.Release()
		}
	}
}

func (s *spoolTest) testSeek() {
	for i, size := range []int{5000, 500 << 10} {
		id := fmt.Sprintf("Q%d", i)
		s.commit(spoolEntry(id, spoolNoon), "Received: x\r\n", spoolBody(i, size))
		want := append([]byte("Received: x\r\n"), spoolBody(i, size)...)
		l := s.lease(spoolNoon)
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
		if err := l.Record(background, delivered(l.Entry())); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *spoolTest) testSameID() {
	s.commit(spoolEntry("Q1", spoolNoon), "", []byte("first"))
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	defer d.Abort()
	_, _ = d.Write([]byte("second"))
	if err := d.Commit(background, spoolEntry("Q1", spoolNoon), nil); err == nil {
		s.Error("a second entry took the id of the first")
	}
	if got := string(s.message(s.lease(spoolNoon))); got != "first" {
		s.Errorf("message %q", got)
	}
}

func (s *spoolTest) testOrder() {
	for i, minutes := range []int{5, 1, 9, 3, 7} {
		s.commit(spoolEntry(fmt.Sprintf("Q%d", i), spoolNoon.Add(time.Duration(minutes)*time.Minute)), "", nil)
	}
	s.none(spoolNoon, spoolNoon.Add(time.Minute))
	var got []string
	for range 4 {
		l := s.lease(spoolNoon.Add(8 * time.Minute))
		got = append(got, l.Entry().ID)
	}
	if want := []string{"Q1", "Q3", "Q0", "Q4"}; !slices.Equal(got, want) {
		s.Errorf("leased %q, wanted %q", got, want)
	}
	s.none(spoolNoon.Add(8*time.Minute), spoolNoon.Add(9*time.Minute))
	if id := s.lease(spoolNoon.Add(9 * time.Minute)).Entry().ID; id != "Q2" { // due means due, to the nanosecond
		s.Errorf("leased %s", id)
	}
	s.none(spoolNoon.Add(time.Hour), time.Time{})
}

// Nobody waits behind all of another user's messages.
func (s *spoolTest) testTurns() {
	for i := range 60 {
		e := spoolEntry(fmt.Sprintf("A%02d", i), spoolNoon)
		e.User = "many"
		s.commit(e, "", nil)
	}
	for _, user := range []string{"one", "two"} {
		e := spoolEntry("B"+user, spoolNoon.Add(time.Minute))
		e.User = user
		s.commit(e, "", nil)
	}
	var got []string
	for range 8 {
		got = append(got, s.lease(spoolNoon.Add(time.Hour)).Entry().ID)
	}
	if !slices.Contains(got, "Bone") || !slices.Contains(got, "Btwo") {
		s.Errorf("leased %q first: the others wait behind one", got)
	}
	last := ""
	for _, id := range got { // one user's in their order
		if strings.HasPrefix(id, "A") {
			if id < last {
				s.Errorf("leased %q", got)
			}
			last = id
		}
	}
}

// The higher priority comes first and does not come alone (RFC 6710 section 4.2).
func (s *spoolTest) testPriority() {
	for i := range 60 {
		e := spoolEntry(fmt.Sprintf("H%02d", i), spoolNoon.Add(time.Minute))
		e.Priority = 4
		s.commit(e, "", nil)
	}
	low := spoolEntry("L", spoolNoon)
	low.Priority = -3
	s.commit(low, "", nil)
	var got []string
	for range 60 {
		got = append(got, s.lease(spoolNoon.Add(time.Hour)).Entry().ID)
	}
	if got[0] != "H00" {
		s.Errorf("leased %s first", got[0])
	}
	if !slices.Contains(got, "L") {
		s.Error("the low priority waits forever")
	}
}

// Postpone is optional. It is kept in memory alone.
func (s *spoolTest) testPostpone() {
	s.commit(spoolEntry("Q1", spoolNoon), "", []byte("body"))
	l := s.lease(spoolNoon)
	p, ok := l.(queue.Postponer)
	if !ok {
		s.Skip("its leases are no Postponer")
	}
	p.Postpone(spoolNoon.Add(time.Hour))
	p.Postpone(spoolNoon)
	l.Release()
	s.none(spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour))
	if e, err := s.Get(background, "Q1"); err != nil || !e.Next.Equal(spoolNoon) {
		s.Errorf("stored is %+v, %v", e, err)
	}
	l = s.lease(spoolNoon.Add(time.Hour))
	if got := string(s.message(l)); got != "body" {
		s.Errorf("message %q", got)
	}
	l.Release()
}

// An entry of which nothing is pending stays while it is a dead letter.
func (s *spoolTest) testDeadLetter() {
	s.commit(spoolEntry("Q1", spoolNoon), "", []byte("body"))
	l := s.lease(spoolNoon)
	e := l.Entry()
	delivered(e)
	e.Recipients[0].State = queue.Failed
	e.Dead, e.Next = spoolNoon.Add(time.Hour), spoolNoon.Add(time.Hour)
	e.History = []queue.Event{{Time: spoolNoon, What: "failed", Text: "550 5.1.1 No"}}
	if err := l.Record(background, e); err != nil {
		s.Fatal(err)
	}
	s.none(spoolNoon.Add(time.Minute), spoolNoon.Add(time.Hour))
	l = s.lease(spoolNoon.Add(time.Hour))
	e = l.Entry()
	if e.Recipients[0].State != queue.Failed || len(e.History) != 1 || string(s.message(l)) != "body" {
		s.Errorf("entry %+v", e)
	}
	e.Dead = time.Time{}
	if err := l.Record(background, e); err != nil {
		s.Fatal(err)
	}
	s.wantIDs()
}

func (s *spoolTest) testExclusive() {
	const entries, workers = 50, 8
	for i := range entries {
		s.commit(spoolEntry(fmt.Sprintf("Q%02d", i), spoolNoon), "", nil)
	}
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				l, _, err := s.Lease(background, spoolNoon)
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
	if id := s.lease(spoolNoon).Entry().ID; id != "Q00" {
		s.Errorf("after a restart %s came first", id)
	}
}

func (s *spoolTest) testRecord() {
	s.commit(spoolEntry("Q1", spoolNoon), "H: 1\r\n", []byte("text"))
	l := s.lease(spoolNoon)
	e := l.Entry()
	e.Recipients[0].State = queue.Delivered
	e.Recipients[1].Error, e.Recipients[1].Code, e.Recipients[1].Status = "later", 451, "4.2.0"
	e.Attempts, e.Next = 1, spoolNoon.Add(time.Minute)
	if err := l.Record(background, e); err != nil {
		s.Fatalf("Record: %v", err)
	}
	l.Release() // does nothing now
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		s.none(spoolNoon, spoolNoon.Add(time.Minute))
		l = s.lease(spoolNoon.Add(time.Minute))
		if got := l.Entry(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
			s.Errorf("entry\n%+v, wanted\n%+v", got, e)
		}
		if got := string(s.message(l)); got != "H: 1\r\ntext" {
			s.Errorf("message %q", got)
		}
		s.none(spoolNoon.Add(time.Hour), time.Time{})
		l.Release()
	}
}

func (s *spoolTest) testRecordDeletes() {
	for i, size := range []int{10, 400 << 10} {
		s.commit(spoolEntry(fmt.Sprintf("Q%d", i), spoolNoon), "", spoolBody(i, size))
		l := s.lease(spoolNoon)
		r, err := l.Open()
		if err != nil {
			s.Fatal(err)
		}
		e := delivered(l.Entry())
		e.Recipients[1].State = queue.Failed
		if err := l.Record(background, e); err != nil {
			s.Fatalf("Record: %v", err)
		}
		r.Close()
		s.wantIDs()
		if _, err := s.Get(background, e.ID); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Get: %v, wanted ErrNotFound", err)
		}
		if err := s.Update(background, e.ID, func(e *queue.Entry) *queue.Entry { return e }); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("Update: %v, wanted ErrNotFound", err)
		}
	}
	s.reopen()
	s.wantIDs()
	s.none(spoolNoon.Add(time.Hour), time.Time{})
}

func (s *spoolTest) testRelease() {
	s.commit(spoolEntry("Q1", spoolNoon), "", nil)
	l := s.lease(spoolNoon)
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	l.Entry().Attempts = 7 // is not stored
	l.Release()
	l.Release()
	if got := s.lease(spoolNoon).Entry(); got.ID != "Q1" || got.Attempts != 0 {
		s.Errorf("released as %+v", got)
	}
	s.none(spoolNoon, time.Time{})
}

func (s *spoolTest) testHeld() {
	e := spoolEntry("Q1", spoolNoon)
	e.Held = "the return path leads nowhere"
	s.commit(e, "", nil)
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	s.reopen()
	s.none(spoolNoon.Add(time.Hour), time.Time{})
	got, err := s.Get(background, "Q1")
	if err != nil || got.Held != e.Held {
		s.Fatalf("Get: %+v, %v", got, err)
	}
	if err := s.Update(background, "Q1", func(e *queue.Entry) *queue.Entry { e.Held = ""; return e }); err != nil {
		s.Fatal(err)
	}
	l := s.lease(spoolNoon)
	e = l.Entry()
	e.Held = "by a worker"
	if err := l.Record(background, e); err != nil {
		s.Fatal(err)
	}
	s.none(spoolNoon.Add(time.Hour), time.Time{})
}

func (s *spoolTest) testOperator() {
	s.commit(spoolEntry("Q1", spoolNoon.Add(time.Hour)), "", spoolBody(1, 10))
	s.commit(spoolEntry("Q2", spoolNoon.Add(2*time.Hour)), "", spoolBody(2, 300<<10))
	if _, err := s.Get(background, "Q"); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("Get: %v, wanted ErrNotFound", err)
	}
	// Deliver now.
	if err := s.Update(background, "Q2", func(e *queue.Entry) *queue.Entry { e.Next = spoolNoon; return e }); err != nil {
		s.Fatal(err)
	}
	l := s.lease(spoolNoon)
	if l.Entry().ID != "Q2" || !bytes.Equal(s.message(l), spoolBody(2, 300<<10)) {
		s.Error("not the message that was to be delivered now")
	}
	called := false
	err := s.Update(background, "Q2", func(e *queue.Entry) *queue.Entry { called = true; return e })
	if !errors.Is(err, queue.ErrLeased) || called {
		s.Errorf("Update of a leased entry: %v, wanted ErrLeased", err)
	}
	l.Release()
	// Drop.
	if err := s.Update(background, "Q2", func(*queue.Entry) *queue.Entry { return nil }); err != nil {
		s.Fatal(err)
	}
	s.wantIDs("Q1")
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
	s.reopen()
	s.wantIDs("Q1")
	s.none(spoolNoon, spoolNoon.Add(time.Hour))
}

func (s *spoolTest) testList() {
	var want []string
	for i := range 250 {
		id := fmt.Sprintf("Q%03d", i)
		want = append(want, id)
		s.commit(spoolEntry(id, spoolNoon), "", nil)
	}
	l := s.lease(spoolNoon)
	s.wantIDs(want...) // leased ones too
	l.Release()
	var got []string
	if err := s.List(background, "Q100", func(e *queue.Entry) bool { got = append(got, e.ID); return len(got) < 120 }); err != nil {
		s.Fatal(err)
	}
	if !slices.Equal(got, want[101:221]) {
		s.Errorf("a part of the list: %q", got)
	}
	// The spool may be used in between.
	if err := s.List(background, "Q248", func(e *queue.Entry) bool {
		_, err := s.Get(background, e.ID)
		if err == nil {
			err = s.Update(background, e.ID, func(*queue.Entry) *queue.Entry { return nil })
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

func (s *spoolTest) testNotify() {
	n, ok := s.OpenSpool.(queue.Notifier)
	if !ok {
		s.Skip("it is not a queue.Notifier")
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
	s.commit(spoolEntry("Q1", spoolNoon), "", nil)
	woken("a commit")
	l := s.lease(spoolNoon)
	l.Release()
	woken("a release")
	l = s.lease(spoolNoon)
	if err := l.Record(background, l.Entry()); err != nil {
		s.Fatal(err)
	}
	woken("a record")
	if err := s.Update(background, "Q1", func(e *queue.Entry) *queue.Entry { return e }); err != nil {
		s.Fatal(err)
	}
	woken("an update")
}

func (s *spoolTest) testReopen() {
	for i := range 40 {
		s.commit(spoolEntry(fmt.Sprintf("Q%02d", i), spoolNoon.Add(time.Duration(i))), "H\r\n", spoolBody(i, i*i*200))
	}
	for i := range 10 {
		l := s.lease(spoolNoon.Add(time.Hour))
		if i%2 == 0 {
			if err := l.Record(background, delivered(l.Entry())); err != nil {
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
			l := s.lease(spoolNoon.Add(time.Hour))
			var i int
			_, _ = fmt.Sscanf(id, "Q%d", &i)
			if l.Entry().ID != id || !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(i, i*i*200)...)) {
				s.Errorf("%s came back changed", id)
			}
		}
		s.none(spoolNoon.Add(time.Hour), time.Time{})
	}
}

func (s *spoolTest) testClosed() {
	s.commit(spoolEntry("Q1", spoolNoon), "", nil)
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	l := s.lease(spoolNoon)
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	for name, err := range map[string]error{
		"Create": func() error { _, err := s.Create(background); return err }(),
		"Lease":  func() error { _, _, err := s.Lease(background, spoolNoon); return err }(),
		"Commit": d.Commit(background, spoolEntry("Q2", spoolNoon), nil),
		"Record": l.Record(background, delivered(spoolEntry("Q1", spoolNoon))),
		"Get":    func() error { _, err := s.Get(background, "Q1"); return err }(),
		"List":   s.List(background, "", func(*queue.Entry) bool { return true }),
		"Update": s.Update(background, "Q1", func(e *queue.Entry) *queue.Entry { return nil }),
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

func (s *spoolTest) testCancelled() {
	cancelled, cancel := context.WithCancel(background)
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	_, _ = d.Write([]byte("x"))
	cancel()
	if err := d.Commit(cancelled, spoolEntry("Q1", spoolNoon), nil); !errors.Is(err, context.Canceled) {
		s.Errorf("Commit: %v, wanted context.Canceled", err)
	}
	d.Abort()
	s.wantIDs()
	if _, _, err := s.Lease(cancelled, spoolNoon); !errors.Is(err, context.Canceled) && !errors.Is(err, queue.ErrNoneDue) {
		s.Errorf("Lease: %v", err)
	}
}

func (s *spoolTest) testConcurrent() {
	// Clients, workers and an operator at once; each message is delivered once and whole.
	const clients, each = 8, 15
	var mu sync.Mutex
	seen := make(map[string]int)
	var committed, working sync.WaitGroup
	for c := range clients {
		committed.Go(func() {
			for i := range each {
				d, err := s.Create(background)
				if err != nil {
					s.Error(err)
					return
				}
				seed := c*each + i
				if _, err := d.Write(spoolBody(seed, seed*seed*11)); err != nil {
					s.Error(err)
				}
				if i%5 == 4 {
					d.Abort()
					continue
				}
				if err := d.Commit(background, spoolEntry(fmt.Sprintf("Q%04d", seed), spoolNoon), []byte("H\r\n")); err != nil {
					s.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 4 {
		working.Go(func() {
			for {
				l, _, err := s.Lease(background, spoolNoon)
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
					if !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(seed, seed*seed*11)...)) {
						s.Errorf("%s came back changed", e.ID)
					}
					mu.Lock()
					seen[e.ID]++
					mu.Unlock()
					delivered(e)
				}
				if err := l.Record(background, e); err != nil {
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
		n := len(seen)
		mu.Unlock()
		if n == clients*each*4/5 || s.Failed() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	working.Wait()
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was delivered %d times", id, n)
		}
	}
	s.wantIDs()
}
