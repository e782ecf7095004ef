package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// ear is a receiver.
type ear struct {
	mu    sync.Mutex
	heard []string // kind, id, and number of each
	tries int
	given int
	busy  map[string]bool
	// says is what it thinks of an event; nil: it takes it.
	says func(ctx context.Context, e *Event) error
	t    *testing.T
}

func (r *ear) tell(ctx context.Context, e *Event) error {
	lane := e.Fact.ID
	r.mu.Lock()
	r.tries++
	if r.busy[lane] {
		r.t.Errorf("two events of %s at once", lane)
	}
	r.busy[lane] = true
	says := r.says
	r.mu.Unlock()
	err := errPanic
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.busy, lane)
		if err == nil {
			r.heard = append(r.heard, name(e))
		}
	}()
	if says == nil {
		err = nil
	} else {
		err = says(ctx, e)
	}
	return err
}

func (r *ear) say(says func(ctx context.Context, e *Event) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = says
}

func (r *ear) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

func (r *ear) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

func (r *ear) givenUp() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.given
}

func name(e *Event) string { return e.Fact.ID + "/" + e.Fact.Text }

// of are those of a message, repeats left out.
func of(id string, heard []string) (all []string) {
	for _, h := range heard {
		if strings.HasPrefix(h, id+"/") && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// spool is a journal with a receiver and a follower.
type spool struct {
	*queuetest.MemSpool
	t *testing.T
	r *ear
	o Options
}

func newSpool(t *testing.T) *spool {
	r := &ear{t: t, busy: make(map[string]bool)}
	s := &spool{MemSpool: queuetest.NewMemSpool(), t: t, r: r}
	s.o = Options{Name: "notify hook", Log: zap.NewNop(), Choose: NewEvent, Tell: r.tell, Concurrency: 4, Observe: func(res Result) {
		if res == GivenUp {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.given++
		}
	}}
	return s
}

func (s *spool) start() *Follower {
	o := s.o
	o.Journal = s.MemSpool
	f := Start(o)
	time.Sleep(time.Millisecond) // of the bubble: it has begun
	return f
}

// crash ends a follower as a power failure would: what it was about to write down is lost.
func crash(f *Follower) {
	f.cancel()
	f.stop.Do(func() { close(f.stopping) })
	<-f.done
}

func stop(f *Follower) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f.Stop(ctx)
}

func (s *spool) add(id, text string) {
	s.addFor("alice", id, text)
}

func (s *spool) addFor(user, id, text string) {
	s.Note(journal.Fact{Time: time.Now(), What: journal.Deferred, ID: id, User: user, Sender: "alice@example.org", Text: text})
}

var (
	errDown = &UnreachableError{errors.New("connection refused")}
	errNo   = &RefusedError{errors.New("400 Bad Request")}
	errOops = errors.New("500 Internal Server Error")
)

func (s *spool) wantHeard(want ...string) {
	s.t.Helper()
	if got := s.r.all(); !slices.Equal(got, want) {
		s.t.Fatalf("heard %q, want %q", got, want)
	}
}

// A new follower begins at the end; from there on everything is told, a stop and a start change nothing.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		s.o.Concurrency = 1
		s.add("A", "0")
		f := s.start()
		time.Sleep(time.Second)
		s.add("A", "1")
		s.add("B", "1")
		time.Sleep(time.Second)
		s.wantHeard("A/1", "B/1")
		if st := f.Status(); !st.Active || st.Waiting != 0 || st.Down || st.Error != "" {
			t.Errorf("%+v", st)
		}
		stop(f)
		s.add("A", "2")
		f = s.start()
		time.Sleep(time.Second)
		s.wantHeard("A/1", "B/1", "A/2")
		stop(f)
	})
}

// Who begins with an empty journal and crashes before anything was told has begun.
func TestBeginEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		crash(s.start())
		s.add("A", "1")
		f := s.start()
		time.Sleep(time.Second)
		s.wantHeard("A/1")
		stop(f)
	})
}

// While the receiver is away it is asked at a bounded rate, the lag is known, and nothing is lost.
func TestOutage(t *testing.T) {
	for name, away := range map[string]error{"unreachable": errDown, "broken": errOops, "refusing": errNo, "no patience": &LaterError{Cause: errOops}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpool(t)
				f := s.start()
				s.r.say(func(context.Context, *Event) error { return away })
				began := time.Now()
				for i := range 300 {
					s.add(fmt.Sprint("M", i%100), fmt.Sprint(i))
				}
				time.Sleep(6 * time.Hour)
				if n := s.r.attempts(); n > 6*12+80 {
					t.Errorf("%d attempts in 6 hours", n)
				}
				st := f.Status()
				if !st.Down || st.Waiting != 300 || !st.Oldest.Equal(began) || st.Error == "" || st.Aside > 2 {
					t.Errorf("%+v", st)
				}
				crash(f)
				f = s.start()
				time.Sleep(time.Hour)
				s.r.say(nil)
				time.Sleep(10 * time.Minute)
				if name == "refusing" { // those refused before it was known that all are
					time.Sleep(time.Hour)
				}
				for i := range 100 {
					id := fmt.Sprint("M", i)
					if got, want := of(id, s.r.all()), []string{fmt.Sprint(id, "/", i), fmt.Sprint(id, "/", i+100), fmt.Sprint(id, "/", i+200)}; !slices.Equal(got, want) {
						t.Fatalf("%q, want %q", got, want)
					}
				}
				if st := f.Status(); st.Waiting != 0 || st.Down || st.Aside != 0 {
					t.Errorf("%+v", st)
				}
				if len(s.r.all()) != 300 {
					t.Errorf("%d were told", len(s.r.all()))
				}
				stop(f)
			})
		})
	}
}

// What was under way when the receiver went away has failed once, however much it was: it is asked again soon.
func TestFailedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		s.o.Concurrency = 64
		f := s.start()
		s.r.say(func(context.Context, *Event) error {
			time.Sleep(15 * time.Second)
			return errDown
		})
		for i := range 64 {
			s.add(fmt.Sprint("M", i), "1")
		}
		time.Sleep(15*time.Second + 500*time.Millisecond)
		if n := s.r.attempts(); n != 64 || !f.Status().Down {
			t.Fatalf("%d attempts", n)
		}
		s.r.say(nil)
		time.Sleep(5 * time.Second)
		if n := len(s.r.all()); n != 64 {
			t.Errorf("%d were told", n)
		}
		stop(f)
	})
}

// A receiver that asks for time gets it.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		f := s.start()
		s.r.say(func(context.Context, *Event) error { return &LaterError{errors.New("429"), 10 * time.Minute} })
		s.add("A", "1")
		s.add("B", "1")
		time.Sleep(9 * time.Minute)
		if n := s.r.attempts(); n > 2 { // both may have been under way
			t.Errorf("%d attempts", n)
		}
		s.r.say(nil)
		time.Sleep(3 * time.Minute)
		if n := len(s.r.all()); n != 2 {
			t.Errorf("%d were told", n)
		}
		stop(f)
	})
}

// An event that the receiver does not take, or breaks over, holds up its message and nobody else, through crashes, and is
// told once that is mended.
func TestRefused(t *testing.T) {
	for name, cause := range map[string]error{"refused": errNo, "breaks": errOops} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpool(t)
				no := func(_ context.Context, e *Event) error {
					if e.Fact.ID == "BAD" && e.Fact.Text == "1" {
						return cause
					}
					return nil
				}
				s.r.say(no)
				f := s.start()
				n := 0
				others := func(many int) {
					for range many {
						s.add(fmt.Sprint("M", n%7), fmt.Sprint(n))
						n++
						time.Sleep(100 * time.Millisecond)
					}
				}
				s.add("BAD", "0")
				s.add("BAD", "1")
				s.add("BAD", "2")
				others(100)
				if got := len(s.r.all()); got < n {
					t.Errorf("%d of %d were told", got-1, n)
				}
				if st := f.Status(); st.Aside != 1 || st.Down {
					t.Errorf("%+v", st)
				}
				time.Sleep(5 * time.Second)
				before := len(s.r.all())
				crash(f)
				s.add("BAD", "3")
				f = s.start()
				others(100)
				if got := len(s.r.all()); got != before+100 {
					t.Errorf("%d were told after the crash, want 100", got-before)
				}
				crash(f)
				f = s.start()
				tries := s.r.attempts()
				time.Sleep(5 * time.Hour)
				if got := s.r.attempts() - tries; got > 75 || cause == errNo && got > 20 {
					t.Errorf("%d attempts in 5 hours", got)
				}
				s.r.say(nil)
				time.Sleep(2 * time.Hour)
				if got, want := of("BAD", s.r.all()), []string{"BAD/0", "BAD/1", "BAD/2", "BAD/3"}; !slices.Equal(got, want) {
					t.Errorf("%q, want %q", got, want)
				}
				if st := f.Status(); st.Aside != 0 || st.Waiting != 0 {
					t.Errorf("%+v", st)
				}
				stop(f)
			})
		})
	}
}

// What nobody takes for long enough is given up with an error; more such messages than there is room for hold up others for a time, not for good.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		const slots = 20
		s.o.slots, s.o.giveUp = slots, 10*time.Hour
		s.r.say(func(_ context.Context, e *Event) error {
			if strings.HasPrefix(e.Fact.ID, "BAD") {
				return errNo
			}
			return nil
		})
		f := s.start()
		s.add("BAD", "1")
		s.add("BAD", "2")
		s.add("M", "1")
		time.Sleep(9 * time.Hour)
		if s.r.givenUp() != 0 {
			t.Error("given up too soon")
		}
		time.Sleep(3 * time.Hour)
		if s.r.givenUp() != 2 || f.Status().Aside != 0 {
			t.Errorf("%d given up, %+v", s.r.givenUp(), f.Status())
		}
		for i := range 2 * slots {
			s.add(fmt.Sprint("BAD", i), "1")
			s.add(fmt.Sprint("M", i), "1")
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Hour)
		if got := len(s.r.all()); got != 1+2*slots {
			t.Errorf("%d told", got)
		}
		if st := f.Status(); st.Aside > slots || st.Waiting > slots {
			t.Errorf("%+v", st)
		}
		stop(f)
	})
}

// A user whose receiver hangs holds up nobody else, however much is told of, and hears everything in the end.
func TestByUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		s.o.ByUser, s.o.Concurrency = true, 8
		s.r.say(func(ctx context.Context, e *Event) error {
			if strings.HasPrefix(e.Fact.User, "dead") {
				select {
				case <-time.After(10 * time.Second):
				case <-ctx.Done():
				}
				return errDown
			}
			return nil
		})
		f := s.start()
		const rounds = 200
		for i := range rounds {
			for u := range 3 {
				s.addFor(fmt.Sprint("dead", u), fmt.Sprint("D", u), fmt.Sprint(i))
			}
			s.addFor("bob", "B", fmt.Sprint(i))
			time.Sleep(time.Second)
			if i == rounds/2 {
				crash(f)
				f = s.start()
			}
		}
		if got := len(of("B", s.r.all())); got < rounds-2 {
			t.Errorf("%d of %d were told to somebody else", got, rounds)
		}
		if st := f.Status(); st.Aside != 3 || st.Down {
			t.Errorf("%+v", st)
		}
		crash(f)
		f = s.start()
		time.Sleep(10 * time.Second)
		s.r.say(nil)
		time.Sleep(15 * time.Minute)
		for _, id := range []string{"D0", "D1", "D2", "B"} {
			got := of(id, s.r.all())
			if len(got) != rounds {
				t.Fatalf("%s: %d told, want %d", id, len(got), rounds)
			}
			for i, g := range got {
				if g != fmt.Sprint(id, "/", i) {
					t.Fatalf("%s: %s at %d", id, g, i)
				}
			}
		}
		if got := len(s.r.all()); got > 4*rounds+100 {
			t.Errorf("%d told, many of them again", got)
		}
		if st := f.Status(); st.Aside != 0 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		stop(f)
	})
}

// reads counts what is read of a journal.
type reads struct {
	*queuetest.MemSpool
	facts int
}

func (r *reads) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	return r.MemSpool.Facts(ctx, q, func(f *journal.Fact) bool {
		r.facts++
		return yield(f)
	})
}

// What a user has to hear once the receiver is back is read a few times, and not anew for every few events.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		j := &reads{MemSpool: s.MemSpool}
		s.o.ByUser, s.o.Journal = true, j
		s.r.say(func(context.Context, *Event) error { return errDown })
		f := Start(s.o)
		time.Sleep(time.Millisecond)
		const events = 2025
		for i := range events {
			s.addFor("alice", "A", fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		if st := f.Status(); st.Aside != 1 {
			t.Fatalf("%+v", st)
		}
		s.r.say(func(_ context.Context, e *Event) error {
			if e.Fact.Text == "700" { // new ones come meanwhile
				for i := range 75 {
					s.addFor("alice", "A", fmt.Sprint(events+i))
				}
				time.Sleep(2 * time.Second) // the follower has read them
			}
			return nil
		})
		time.Sleep(15 * time.Minute)
		stop(f)
		got := s.r.all()
		if len(got) != events+75 {
			t.Fatalf("%d told, want %d", len(got), events+75)
		}
		for i, g := range got {
			if g != fmt.Sprint("A/", i) {
				t.Fatalf("%s at %d", g, i)
			}
		}
		if j.facts > 3*events {
			t.Errorf("%d facts were read for %d events", j.facts, events)
		}
	})
}

// What a lane that was put aside has heard ahead of the follower is not told again when the follower comes there.
func TestToldAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		s.o.ByUser = true
		s.r.say(func(context.Context, *Event) error { return errDown })
		f := s.start()
		const events = 120
		for i := range events {
			s.addFor("alice", "A", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		s.r.say(func(_ context.Context, e *Event) error {
			if e.Fact.Text == "60" { // new ones come before the follower reads again
				for i := range 30 {
					s.addFor("alice", "A", fmt.Sprint(events+i))
				}
			}
			return nil
		})
		time.Sleep(15 * time.Minute)
		s.addFor("alice", "A", fmt.Sprint(events+30))
		time.Sleep(time.Minute)
		stop(f)
		for i, g := range s.r.all() {
			if g != fmt.Sprint("A/", i) {
				t.Fatalf("%s at %d", g, i)
			}
		}
		if got := len(s.r.all()); got != events+31 {
			t.Errorf("%d told, want %d", got, events+31)
		}
	})
}

// Of the nodes that share a journal one tells; another goes on when that is out of touch.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		o := s.o
		o.Journal = s.MemSpool
		first := Start(o)
		time.Sleep(time.Second)
		other := s.Node()
		o.Journal = other
		second := Start(o)
		time.Sleep(time.Second)
		s.add("A", "1")
		time.Sleep(time.Second)
		if !first.Status().Active || second.Status().Active {
			t.Error("not the first alone")
		}
		s.wantHeard("A/1")
		s.Cut()
		time.Sleep(time.Second)
		other.Note(journal.Fact{Time: time.Now(), What: journal.Deferred, ID: "A", Text: "2"})
		time.Sleep(2 * time.Second)
		if !second.Status().Active {
			t.Error("nobody goes on")
		}
		if got := of("A", s.r.all()); !slices.Equal(got, []string{"A/1", "A/2"}) {
			t.Errorf("%q", got)
		}
		s.Heal()
		stop(second)
		time.Sleep(10 * time.Second)
		if !first.Status().Active {
			t.Error("the first does not come back")
		}
		stop(first)
	})
}

// A reload's follower waits for the one before, whose calls are not taken back as long as they may end.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		f := s.start()
		s.r.say(func(ctx context.Context, _ *Event) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		s.add("A", "1")
		s.add("A", "2")
		time.Sleep(time.Second)
		next := s.start()
		go stop(f)
		time.Sleep(20 * time.Second)
		s.wantHeard("A/1", "A/2")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.add("A", "3")
		time.Sleep(time.Second)
		began := time.Now()
		next.Stop(ctx)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it ended after %v", took)
		}
		next = s.start()
		time.Sleep(10 * time.Second)
		s.wantHeard("A/1", "A/2", "A/3")
		stop(next)
	})
}

// A notifier that panics is one that fails.
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t)
		f := s.start()
		s.r.say(func(context.Context, *Event) error { panic("oops") })
		s.add("A", "1")
		time.Sleep(time.Minute)
		s.r.say(nil)
		time.Sleep(10 * time.Minute)
		s.wantHeard("A/1")
		stop(f)
	})
}
