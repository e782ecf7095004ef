//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

// A node that accepts leases nothing and has no part in lanes; one that delivers takes notifications only. The role can
// be changed while it is open.
func TestRoles(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	front, back := open(t, Options{DSN: srv.DSN(), Node: "front", Role: Accept}), open(t, Options{DSN: srv.DSN(), Node: "back", Role: Deliver})
	defer front.Close()
	defer back.Close()
	if err := submit(front, "Q1"); err != nil {
		t.Error(err)
	}
	if _, err := back.Create(context.Background()); err == nil || errors.Is(err, queue.ErrFull) {
		t.Errorf("a node that only delivers: %v", err)
	}
	if d, err := back.Create(queue.AsNotification(context.Background())); err != nil {
		t.Error(err)
	} else {
		d.Abort()
	}
	if _, _, err := front.Lease(context.Background(), time.Now(), queue.Want{}); !errors.Is(err, queue.ErrNoneDue) {
		t.Errorf("a node that only accepts: %v", err)
	}
	alone := func(s *Store) bool {
		front.HearLanes()
		back.HearLanes()
		_, nodes := s.Place("a")
		return nodes == 1
	}
	await(t, "the one that delivers has all lanes", func() bool { return alone(back) })
	if _, nodes := front.Place("a"); nodes != 0 {
		t.Errorf("a node that only accepts is one of %d", nodes)
	}
	front.Adjust(Options{Role: Deliver})
	back.Adjust(Options{Role: Accept})
	await(t, "roles are changed", func() bool { return alone(front) })
	l, _, err := front.Lease(context.Background(), time.Now(), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// What all nodes take together is bounded, notifications excepted.
func TestLimits(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	o := Options{DSN: srv.DSN(), Node: "one", MaxMessages: 3}
	one := open(t, o)
	defer one.Close()
	two := open(t, o)
	defer two.Close()
	for i := range 3 {
		// What came during a look may count twice until the next.
		await(t, "there is room", func() bool { return submit(one, fmt.Sprint("Q", i)) == nil })
	}
	if err := submit(one, "Q3"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("the fourth: %v", err)
	}
	n := 0
	await(t, "the other node is full", func() bool { n++; return errors.Is(submit(two, fmt.Sprint("R", n)), queue.ErrFull) })
	if _, err := two.Create(queue.AsNotification(context.Background())); err != nil {
		t.Errorf("a notification: %v", err)
	}
	for _, id := range ids(t, one)[1:] {
		if _, err := two.Delete(context.Background(), id); err != nil {
			t.Error(err)
		}
	}
	await(t, "there is room again", func() bool { return submit(one, "Q4") == nil })
	one.Adjust(Options{MaxOctets: 1})
	await(t, "octets are bounded", func() bool { return errors.Is(submit(one, "Q5"), queue.ErrFull) })
}

// A look that began before a message was admitted does not forget it.
func TestLimitsDuringLook(t *testing.T) {
	q := quota{maxMessages: 3}
	q.admitted(10)
	q.looks()
	q.admitted(20)
	q.saw(1, 10)
	if q.messages != 2 || q.octets != 30 {
		t.Errorf("%d messages of %d octets", q.messages, q.octets)
	}
	q.looks()
	q.saw(2, 30)
	if q.messages != 2 || q.octets != 30 {
		t.Errorf("then %d messages of %d octets", q.messages, q.octets)
	}
}

// A check finds what is not whole, and what would never be delivered.
func TestCheck(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for _, id := range []string{"Q1", "Q2", "Q3", "Q4"} {
		if err := submit(s, id); err != nil {
			t.Fatal(err)
		}
	}
	check := func() map[string]string {
		t.Helper()
		problems := make(map[string]string)
		read := 0
		n, octets, err := s.Check(context.Background(), func(n int) { read = n }, func(id, problem string) { problems[id] = problem })
		if err != nil || n != 4 || read != 4 || octets < 20 {
			t.Errorf("%d messages of %d octets, %v", n, octets, err)
		}
		return problems
	}
	if p := check(); len(p) != 0 {
		t.Errorf("problems %q", p)
	}
	key := "(SELECT key FROM msa.msa_entry WHERE id = $1)"
	srv.Exec(t, "DELETE FROM msa.msa_body WHERE key = "+key, "Q1")
	srv.Exec(t, "DELETE FROM msa.msa_due WHERE key = "+key, "Q2")
	srv.Exec(t, "UPDATE msa.msa_entry SET entry = 'nonsense' WHERE id = $1", "Q3")
	p := check()
	if len(p) != 3 || !strings.Contains(p["Q1"], "missing") || !strings.Contains(p["Q2"], "does not wait") || p["Q3"] == "" {
		t.Errorf("problems %q", p)
	}
}

// A database that says nothing makes nobody wait longer than the timeout.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Timeout: bearable})
	defer s.Close()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	srv.Signal(syscall.SIGSTOP)
	for range 3 {
		began := time.Now()
		if err := submit(s, "Q2"); err == nil || errors.Is(err, queue.ErrFull) {
			t.Errorf("accepted by a database that says nothing: %v", err)
		}
		if took := time.Since(began); took > 3*bearable {
			t.Errorf("the answer took %v", took)
		}
	}
	srv.Signal(syscall.SIGCONT)
	await(t, "the database is back", func() bool { return submit(s, "Q3") == nil })
	await(t, "nothing is left of what was refused", func() bool { return strings.Join(ids(t, s), " ") == "Q1 Q3" })
}

// While the database is away leases end for those who hold them, and for nobody else: others get their jobs one
// lease length after its return, and an outcome that is known by then is recorded.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	const lease = 9 * time.Second // once the database is back what is known is to be recorded within it
	p := newProxy(t, &srv.Database)
	gone := open(t, Options{DSN: p.dsn(), Node: "gone", Lease: lease})
	defer gone.Close()
	one, two := open(t, Options{DSN: srv.DSN(), Node: "one", Lease: lease}), open(t, Options{DSN: srv.DSN(), Node: "two", Lease: lease})
	defer one.Close()
	defer two.Close()
	if err := submit(one, "Q1"); err != nil {
		t.Fatal(err)
	}
	lost, _, err := gone.Lease(context.Background(), time.Now(), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if err := submit(one, "Q2"); err != nil {
		t.Fatal(err)
	}
	kept, _, err := one.Lease(context.Background(), time.Now(), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	p.set(true) // that node does not come back
	<-kept.Lost()
	<-lost.Lost()
	time.Sleep(lease)
	back := time.Now()
	srv.Start()
	j := kept.Job().Clone()
	j.Recipients[0].State = queue.Delivered
	await(t, "the outcome is recorded", func() bool {
		return kept.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}) == nil
	})
	var l queue.Lease
	await(t, "another node takes over", func() bool {
		l, _, err = two.Lease(context.Background(), time.Now(), queue.Want{})
		return err == nil
	})
	if l.Entry().ID != "Q1" {
		t.Errorf("%s was taken over", l.Entry().ID)
	}
	if after := time.Since(back); after < lease {
		t.Errorf("taken over %v after the database came back", after)
	}
	l.Release()
}

// Connections notice that the server's machine is gone.
func TestDialer(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	o := Options{DSN: srv.DSN(), Node: "one", Timeout: 8 * time.Second}
	if err := o.prepare(); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.ConnectConfig(context.Background(), o.config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	raw, err := c.PgConn().Conn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		for option, want := range map[int]int{unix.TCP_USER_TIMEOUT: 8000, unix.TCP_KEEPIDLE: 2, unix.TCP_KEEPINTVL: 2, unix.TCP_KEEPCNT: 3} {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); got != want || err != nil {
				t.Errorf("option %d: %d, wanted %d (%v)", option, got, want, err)
			}
		}
	})
	two := Options{DSN: "postgres://msa@192.0.2.1,192.0.2.2/postgres?sslmode=disable", Node: "one"}
	if err := two.prepare(); err != nil || two.config.ConnConfig.ConnectTimeout != 5*time.Second {
		t.Errorf("a host has %v of %v: the other would never be tried", two.config.ConnConfig.ConnectTimeout, two.Timeout)
	}
}

// What the primary has committed by itself, since it was killed while it waited for its standby, is not accepted: a
// failover would lose it.
func TestCommittedWithoutStandby(t *testing.T) {
	t.Parallel()
	primary := postgres.Start(t)
	s := open(t, Options{DSN: primary.DSN(), Node: "one", Timeout: bearable, Lease: 3 * time.Second})
	defer s.Close()
	standby := primary.Standby()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){primary.Kill, primary.Stop} {
		standby.Kill()
		result := make(chan error, 1)
		go func() { result <- submit(s, "Q2") }()
		await(t, "a COMMIT waits for the standby", func() bool {
			return primary.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0
		})
		end()
		primary.Start()
		if err := <-result; err == nil {
			t.Error("accepted without the standby")
		}
		standby.Start()
		await(t, "what was not accepted is taken back", func() bool { return strings.Join(ids(t, s), " ") == "Q1" })
	}
}

// A claim that was given up, and that the server did all the same when it came to it, holds up nothing.
func TestLateClaim(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	lease := func() queue.Lease {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if err != nil {
			return nil
		}
		return l
	}
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	kept := lease()
	if err := submit(s, "Q2"); err != nil {
		t.Fatal(err)
	}
	srv.Exec(t, "UPDATE msa.msa_due SET owner = $1, token = token + 1 WHERE id = 'Q2'", s.owner.Load())
	var late queue.Lease
	await(t, "it is leased after all", func() bool { late = lease(); return late != nil })
	if late.Entry().ID != "Q2" {
		t.Errorf("%s is leased", late.Entry().ID)
	}
	j := kept.Job().Clone()
	j.Recipients[0].State = queue.Delivered
	if err := kept.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
		t.Errorf("what was in hand: %v", err)
	}
	late.Release()
}

// A node that was killed and starts again has at once what it had in hand, and its part in lanes; one whose name a living process has
// takes nothing from it.
func TestStartsAgain(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	p := newProxy(t, srv)
	killed := open(t, Options{DSN: p.dsn(), Node: "one", Lease: time.Hour})
	defer killed.Close()
	if err := submit(killed, "Q1"); err != nil {
		t.Fatal(err)
	}
	lost, _, err := killed.Lease(context.Background(), time.Now(), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	killed.HearLanes()
	await(t, "its part in lanes", func() bool { killed.HearLanes(); _, nodes := killed.Place("a"); return nodes == 1 })

	twin := open(t, Options{DSN: srv.DSN(), Node: "one"})
	if _, _, err := twin.Lease(context.Background(), time.Now(), queue.Want{}); !errors.Is(err, queue.ErrNoneDue) {
		t.Errorf("leased from under a process that lives: %v", err)
	}
	_ = twin.Close()

	p.set(true)
	await(t, "its connections are gone", func() bool {
		return srv.Exec(t, "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND locktype = 'advisory' AND mode = 'ShareLock'") == 0
	})
	again := open(t, Options{DSN: srv.DSN(), Node: "one", Lease: time.Hour})
	defer again.Close()
	l, _, err := again.Lease(context.Background(), time.Now(), queue.Want{})
	if err != nil || l.Entry().ID != "Q1" {
		t.Fatalf("what it had in hand is not due: %v", err)
	}
	await(t, "its part in lanes", func() bool { again.HearLanes(); _, nodes := again.Place("a"); return nodes == 1 })

	p.set(false) // and the first one was only cut off
	j := lost.Job().Clone()
	j.Recipients[0].State = queue.Delivered
	await(t, "its outcome is refused", func() bool {
		return errors.Is(lost.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}), queue.ErrLost)
	})
	j = l.Job().Clone()
	j.Recipients[0].State = queue.Delivered
	if err := l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
		t.Error(err)
	}
}

// Who opens the spool and delivers nothing, such as spool move, has no part in lanes.
func TestNoPartWithoutQueue(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	mover, node := open(t, Options{DSN: srv.DSN(), Node: "mover"}), open(t, Options{DSN: srv.DSN(), Node: "node"})
	defer mover.Close()
	defer node.Close()
	alone := func() bool { node.HearLanes(); _, nodes := node.Place("a"); return nodes == 1 }
	await(t, "the node has all lanes", alone)
	time.Sleep(2 * shareEvery) // what must not happen has time to
	if !alone() {
		t.Error("the mover has a part in lanes")
	}
	if _, nodes := mover.Place("a"); nodes != 0 {
		t.Errorf("the mover is one of %d", nodes)
	}
}
