package msatest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
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
		{"Cancelled", (*spoolTest).testCancelled},

		{"Order", (*spoolTest).testOrder},
		{"Turns", (*spoolTest).testTurns},
		{"TurnsInLane", (*spoolTest).testTurnsInLane},
		{"TurnsOfMany", (*spoolTest).testTurnsOfMany},
		{"TurnsBetweenLanes", (*spoolTest).testTurnsBetweenLanes},
		{"Priority", (*spoolTest).testPriority},
		{"PriorityInLane", (*spoolTest).testPriorityInLane},
		{"Probe", (*spoolTest).testProbe},
		{"LaneLimit", (*spoolTest).testLaneLimit},
		{"NewLane", (*spoolTest).testNewLane},
		{"LaneChanges", (*spoolTest).testLaneChanges},
		{"Proven", (*spoolTest).testProven},
		{"Deadline", (*spoolTest).testDeadline},
		{"ClockSetBack", (*spoolTest).testClockSetBack},
		{"ClockWasAhead", (*spoolTest).testClockWasAhead},

		{"Exclusive", (*spoolTest).testExclusive},
		{"Record", (*spoolTest).testRecord},
		{"Jobs", (*spoolTest).testJobs},
		{"Split", (*spoolTest).testSplit},
		{"RecordDeletes", (*spoolTest).testRecordDeletes},
		{"RecordTwice", (*spoolTest).testRecordTwice},
		{"Release", (*spoolTest).testRelease},
		{"Notes", (*spoolTest).testNotes},
		{"NotesWait", (*spoolTest).testNotesWait},
		{"DelayOver", (*spoolTest).testDelayOver},
		{"DeadLetter", (*spoolTest).testDeadLetter},
		{"Copies", (*spoolTest).testCopies},
		{"CopyNotes", (*spoolTest).testCopyNotes},
		{"CopyInFlight", (*spoolTest).testCopyInFlight},

		{"Held", (*spoolTest).testHeld},
		{"Change", (*spoolTest).testChange},
		{"ChangeRefused", (*spoolTest).testChangeRefused},
		{"HoldInFlight", (*spoolTest).testHoldInFlight},
		{"HeldLeavesLane", (*spoolTest).testHeldLeavesLane},
		{"HeldAndDelivered", (*spoolTest).testHeldAndDelivered},
		{"GiveUpInFlight", (*spoolTest).testGiveUpInFlight},
		{"RetryInFlight", (*spoolTest).testRetryInFlight},
		{"RerouteInFlight", (*spoolTest).testRerouteInFlight},
		{"DeleteInFlight", (*spoolTest).testDeleteInFlight},
		{"RetryDeadLetter", (*spoolTest).testRetryDeadLetter},
		{"List", (*spoolTest).testList},
		{"Lanes", (*spoolTest).testLanes},
		{"LaneOldest", (*spoolTest).testLaneOldest},
		{"Notify", (*spoolTest).testNotify},
		{"Tally", (*spoolTest).testTally},
		{"Once", (*spoolTest).testOnce},
		{"Moved", (*spoolTest).testMoved},

		{"JournalCommits", (*spoolTest).testJournalCommits},
		{"JournalDeleted", (*spoolTest).testJournalDeleted},
		{"JournalWhole", (*spoolTest).testJournalWhole},
		{"JournalFollow", (*spoolTest).testJournalFollow},
		{"JournalQueries", (*spoolTest).testJournalQueries},
		{"JournalPages", (*spoolTest).testJournalPages},
		{"JournalPurge", (*spoolTest).testJournalPurge},
		{"JournalLimits", (*spoolTest).testJournalLimits},
		{"JournalCursors", (*spoolTest).testJournalCursors},
		{"JournalNotes", (*spoolTest).testJournalNotes},

		{"Reopen", (*spoolTest).testReopen},
		{"Closed", (*spoolTest).testClosed},
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
	dir       string
	open      func(testing.TB, string) queue.OpenSpool
	elsewhere *spoolTest // see operator
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

// spoolAccept is a message with one job, which is unrouted.
func spoolAccept(id string, due time.Time) *queue.Accept {
	e := &queue.Entry{
		ID: id, Server: "msa.example.org", Accepted: spoolNoon, Size: 5,
		Sender: "alice@example.org", ReturnPath: true, User: "alice",
		Attributes: map[string]string{"dept": "sales"},
		Recipients: []queue.Recipient{{Address: "bob@example.net"}, {Address: `"a b"@example.com`, Notify: []string{"FAILURE"}}},
	}
	j := queue.NewJob(e)
	j.Due = due
	return &queue.Accept{Entry: e, Jobs: []queue.Job{j}}
}

// inLane is a message of a user with one job in a lane.
func inLane(id, user, lane string, due time.Time) *queue.Accept {
	a := spoolAccept(id, due)
	a.Entry.User, a.Jobs[0].Lane, a.Jobs[0].Stamp = user, lane, "1-a"
	return a
}

// inLanes is a message with a job in each lane, of one recipient.
func inLanes(id string, due time.Time, lanes ...string) *queue.Accept {
	a := spoolAccept(id, due)
	a.Entry.Recipients, a.Jobs = nil, nil
	for _, lane := range lanes {
		a.Entry.Recipients = append(a.Entry.Recipients, queue.Recipient{Address: "bob@" + lane})
	}
	for i, lane := range lanes {
		j := queue.Job{Number: i + 1, Lane: lane, Due: due}
		if err := j.SetRecipients(a.Entry, queue.Indexes{i}); err != nil {
			panic(err)
		}
		a.Jobs = append(a.Jobs, j)
	}
	return a
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

func (s *spoolTest) commit(a *queue.Accept, header string, b []byte) {
	s.Helper()
	d, err := s.Create(background)
	if err != nil {
		s.Fatalf("Create: %v", err)
	}
	if n, err := d.Write(b); n != len(b) || err != nil {
		s.Fatalf("Write: %d, %v", n, err)
	}
	a.Header = []byte(header)
	if err := d.Commit(background, a); err != nil {
		s.Fatalf("Commit: %v", err)
	}
	d.Abort() // does nothing now
}

func (s *spoolTest) lease(now time.Time) queue.Lease {
	s.Helper()
	l, _, err := s.Lease(background, now, queue.Want{})
	if err != nil {
		s.Fatalf("Lease: %v", err)
	}
	return l
}

// leaseAll leases all that there is at a time and returns the ids.
func (s *spoolTest) leaseAll(now time.Time) (ids []string, leases []queue.Lease) {
	s.Helper()
	for {
		l, _, err := s.Lease(background, now, queue.Want{})
		if errors.Is(err, queue.ErrNoneDue) {
			return ids, leases
		}
		if err != nil {
			s.Fatalf("Lease: %v", err)
		}
		ids, leases = append(ids, l.Entry().ID), append(leases, l)
	}
}

// none wants nothing to be due, and the next at a time.
func (s *spoolTest) none(now, next time.Time) {
	s.Helper()
	l, at, err := s.Lease(background, now, queue.Want{})
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
	r, err := l.Open(background)
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
	if err := s.List(background, "", func(m *queue.EntryView) bool { ids = append(ids, m.Entry.ID); return true }); err != nil {
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

func (s *spoolTest) get(id string) *queue.EntryView {
	s.Helper()
	m, err := s.Get(background, id)
	if err != nil {
		s.Fatalf("Get %s: %v", id, err)
	}
	return m
}

func (s *spoolTest) record(l queue.Lease, r *queue.Record) {
	s.Helper()
	if err := l.Record(background, r); err != nil {
		s.Fatalf("Record: %v", err)
	}
}

func (s *spoolTest) change(id string, change func(*queue.EntryView)) int {
	s.Helper()
	n, err := s.Change(background, id, func(m *queue.EntryView) error { change(m); return nil })
	if err != nil {
		s.Fatalf("Change: %v", err)
	}
	return n
}

// as is the record of a job all of whose recipients fared alike.
func as(l queue.Lease, state queue.State) *queue.Record {
	j := l.Job().Clone()
	for i := range j.Recipients {
		if j.Recipients[i].State == queue.Pending {
			j.Recipients[i].State = state
		}
	}
	return &queue.Record{At: spoolNoon, Jobs: []queue.Job{*j}}
}

func delivered(l queue.Lease) *queue.Record { return as(l, queue.Delivered) }

// deferred is the record of a job that is tried again.
func deferred(l queue.Lease, due time.Time) *queue.Record {
	r := as(l, queue.Pending)
	j := &r.Jobs[0]
	j.Attempts, j.Tried, j.Due = j.Attempts+1, spoolNoon, due
	for i := range j.Recipients {
		if j.Recipients[i].State == queue.Pending {
			j.Recipients[i].Error, j.Recipients[i].Code, j.Recipients[i].Status = "451 4.2.0 later", 451, "4.2.0"
		}
	}
	return r
}

// sameJob tells whether two jobs are one as they are stored.
func sameJob(a, b *queue.Job) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}
