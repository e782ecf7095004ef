package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

const (
	clusterLease   = 3 * time.Second
	clusterTimeout = 15 * time.Second // in which a spool is to be opened, too
	clusterAtOnce  = 6                // in the lane, of all nodes together
)

// recordingHop is a next hop that remembers what it took, and how much at once.
type recordingHop struct {
	address string
	pause   time.Duration // each message takes

	mu    sync.Mutex
	taken map[string]int // by subject
	now   int
	most  int
}

func startRecordingHop(t testing.TB, pause time.Duration) *recordingHop {
	t.Helper()
	r := &recordingHop{pause: pause, taken: make(map[string]int)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &recording{r: r}, nil }))
	s.Domain = "recorder.example"
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return r
}

func (r *recordingHop) has(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[subject] > 0
}

func (r *recordingHop) counts() (messages, again, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.taken {
		again += n - 1
	}
	return len(r.taken), again, r.most
}

type recording struct{ r *recordingHop }

func (*recording) Mail(string, *smtp.MailOptions) error { return nil }
func (*recording) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (*recording) Reset()                               {}
func (*recording) Logout() error                        { return nil }

func (c *recording) Data(body io.Reader) error {
	r := c.r
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now--
		r.mu.Unlock()
	}()
	message, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	time.Sleep(r.pause)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken[subject(message)]++
	return nil
}

// cluster is nodes that share a database, and where all their messages go.
type cluster struct {
	t       *testing.T
	nodes   []*server
	primary *postgres.Server
	standby *postgres.Server
	hop     *recordingHop

	mu       sync.Mutex
	answered []string // subjects that were answered 250
	refused  int
}

// clusterBehind is how many messages may wait: clients are quicker than a lane that takes six at once.
const clusterBehind = 1000

// behind tells whether deliveries are.
func (c *cluster) behind() bool {
	delivered, _, _ := c.hop.counts()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answered)-delivered > clusterBehind
}

// newCluster starts nodes on one database; more are settings of the spool.
func newCluster(t *testing.T, nodes int, standby bool, pause time.Duration, more string) *cluster {
	t.Helper()
	c := &cluster{t: t, primary: postgres.Start(t), hop: startRecordingHop(t, pause)}
	dsn := c.primary.DSN()
	if standby {
		c.standby = c.primary.Standby()
		dsn = fmt.Sprintf("postgres://msa@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write", c.primary.Port, c.standby.Port)
	}
	for i := range nodes {
		s := newServer(t)
		s.writeUsers("")
		text := s.caddyfile(layout{msa: fmt.Sprintf(`
	queue {
		workers 32
		retry 500ms
		probe 500ms 1s
	}
	deliver relay %s {
		tls off
		concurrency %d
	}`, c.hop.address, clusterAtOnce)})
		file := "spool file " + s.dir + "/spool"
		if !strings.Contains(text, file) {
			t.Fatal("the configuration has no spool to replace")
		}
		s.write("Caddyfile", strings.Replace(text, file, fmt.Sprintf("spool postgres %s {\n\tnode n%d\n\tlease %s\n\ttimeout %s\n%s\n}", dsn, i, clusterLease, clusterTimeout, more), 1))
		s.run()
		c.nodes = append(c.nodes, s)
	}
	return c
}

// load submits until stop is closed, each client at one node after the other.
func (c *cluster) load(clients int, stop <-chan struct{}) *sync.WaitGroup {
	var group sync.WaitGroup
	var trusts []*tls.Config
	for _, s := range c.nodes {
		trusts = append(trusts, s.tlsConfig())
	}
	for n := range clients {
		group.Go(func() {
			for k := 0; ; {
				at := (n + k) % len(c.nodes)
				conn, err := c.nodes[at].as(trusts[at], "alice@example.org")
				for err == nil {
					select {
					case <-stop:
						conn.close()
						return
					default:
					}
					if c.behind() {
						time.Sleep(10 * time.Millisecond)
						continue
					}
					k++
					id := fmt.Sprintf("%d-%d", n, k)
					if _, err = conn.submit("alice@example.org", "bob@example.net", clusterMessage(id, k)); err == nil {
						c.mu.Lock()
						c.answered = append(c.answered, id)
						c.mu.Unlock()
						continue
					}
					if reply := new(unexpected); errors.As(err, &reply) && strings.HasPrefix(reply.got, "451 4.3.0") {
						c.mu.Lock()
						c.refused++
						c.mu.Unlock()
						time.Sleep(20 * time.Millisecond)
						err = nil // the session stays open
					}
				}
				if reply := new(unexpected); errors.As(err, &reply) && !strings.HasPrefix(reply.got, "421") && !strings.HasPrefix(reply.got, "4") {
					c.t.Errorf("client %d: %v", n, err)
				}
				if conn != nil {
					conn.close()
				}
				k++
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	return &group
}

// loaded waits for a second, and until there was a load.
func (c *cluster) loaded() {
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.answered)
	}
	enough := count() + often(20, 5)
	time.Sleep(time.Second)
	for end := time.Now().Add(2 * patience); count() < enough && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
}

// clusterMessage is small, or larger than a draft is kept in memory.
func clusterMessage(id string, k int) string {
	size := 1
	if k%20 == 0 {
		size = 10000
	}
	return letter(id) + strings.Repeat(fmt.Sprintf("%-40s\r\n", id), size)
}

// left is how many messages are in the database.
func (c *cluster) left() int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.primary.DSN())
	if err != nil {
		return -1
	}
	defer func() { _ = conn.Close(ctx) }()
	n := -1
	_ = conn.QueryRow(ctx, "SELECT count(*) FROM msa.msa_entry").Scan(&n)
	return n
}

// event is what befalls the cluster in a round.
type event struct {
	name string
	do   func(c *cluster, pass int)
}

var events = []event{
	{"node killed", func(c *cluster, pass int) {
		s := c.nodes[pass%len(c.nodes)]
		s.kill()
		time.Sleep(500 * time.Millisecond)
		s.run()
	}},
	{"node stopped for longer than its lease", func(c *cluster, pass int) {
		s := c.nodes[(1+pass)%len(c.nodes)]
		_ = s.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(2 * clusterLease)
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
	}},
	{"database killed", func(c *cluster, _ int) {
		c.primary.Kill()
		time.Sleep(300 * time.Millisecond)
		c.primary.Start()
	}},
	{"database failed over", func(c *cluster, _ int) {
		c.primary.Kill()
		c.standby.Promote()
		c.primary, c.standby = c.standby, c.primary
		c.standby.Follow(c.primary)
	}},
	{"database stopped for longer than leases", func(c *cluster, _ int) {
		c.primary.Stop()
		time.Sleep(clusterAway())
		c.primary.Start()
	}},
	{"database silent", func(c *cluster, _ int) {
		c.primary.Signal(syscall.SIGSTOP)
		time.Sleep(clusterTimeout + 2*time.Second)
		c.primary.Signal(syscall.SIGCONT)
	}},
}

// clusterAway is how long the database is stopped: MSA_CLUSTER_AWAY=2m.
func clusterAway() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("MSA_CLUSTER_AWAY")); err == nil {
		return d
	}
	return 2 * clusterLease
}

// Three nodes on one database under load, of which each in turn, and the database too, is killed, stopped or
// failed over to its standby: what was answered 250 is delivered, and nothing again but what was in flight. More than
// one pass: MSA_CLUSTER_ROUNDS=100.
func TestClusterSurvives(t *testing.T) {
	t.Parallel()
	rounds := len(events)
	if n, err := strconv.Atoi(os.Getenv("MSA_CLUSTER_ROUNDS")); err == nil {
		rounds = n
	}
	c := newCluster(t, 3, true, 20*time.Millisecond, "")
	stop := make(chan struct{})
	load := c.load(often(4, 1), stop)
	again := 0
	for round := range rounds {
		e := events[round%len(events)]
		c.loaded()
		_, before, _ := c.hop.counts()
		began := time.Now()
		e.do(c, round/len(events))
		if messages, n, _ := c.hop.counts(); n > before || rounds <= len(events) {
			t.Logf("round %d, %s: %v, %d messages so far, %d of them again", round, e.name, time.Since(began).Round(time.Millisecond), messages, n-again)
			again = n
		}
	}
	c.loaded()
	close(stop)
	load.Wait()
	lost := func() (ids []string) {
		for _, id := range c.answered {
			if !c.hop.has(id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for end := time.Now().Add(5 * time.Minute); len(lost()) > 0 || c.left() != 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d in the database, %d were answered 250 and not delivered: %.1000s", c.left(), len(lost()), strings.Join(lost(), " "))
			break
		}
	}
	messages, again, most := c.hop.counts()
	var each []int
	for _, s := range c.nodes {
		each = append(each, strings.Count(s.log.String(), "delivery delivered"))
	}
	t.Logf("%d rounds: %d answered, %d refused for a while, %d delivered, %v by the nodes, %d again; %d at once", rounds, len(c.answered), c.refused, messages, each, again, most)
	if again > rounds*clusterAtOnce {
		t.Errorf("%d were delivered again, more than were in flight", again)
	}
	if share := (clusterAtOnce + 2) / 3; most > clusterAtOnce+share {
		t.Errorf("%d at once in a lane that takes %d", most, clusterAtOnce)
	}
	if len(c.answered) < often(20, 5)*rounds {
		t.Errorf("%d messages are not a load", len(c.answered))
	}
}

// Without the database clients hear 451 4.3.0 within the timeout and their sessions stay open; what is under way
// is finished, and what became of it is recorded when the database is back.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, false, 1500*time.Millisecond, "")
	s := c.nodes[0]
	conn, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	if _, err := conn.submit("alice@example.org", "bob@example.net", letter("before")); err != nil {
		t.Fatal(err)
	}
	await(t, "the delivery has begun", func() bool {
		_, _, most := c.hop.counts()
		return most > 0
	})
	for _, away := range []struct {
		name        string
		gone, again func()
	}{
		{"stopped", c.primary.Stop, func() { c.primary.Start() }},
		{"silent", func() { c.primary.Signal(syscall.SIGSTOP) }, func() { c.primary.Signal(syscall.SIGCONT) }},
	} {
		away.gone()
		for range 2 {
			began := time.Now()
			_, err := conn.submit("alice@example.org", "bob@example.net", letter(away.name))
			if reply := new(unexpected); !errors.As(err, &reply) || !strings.HasPrefix(reply.got, "451 4.3.0") {
				t.Errorf("%s: %v", away.name, err)
			}
			if took := time.Since(began); took > clusterTimeout+patience/2 {
				t.Errorf("%s: the answer took %v", away.name, took)
			}
		}
		if away.name == "stopped" {
			await(t, "the delivery has ended", func() bool { return c.hop.has("before") })
			time.Sleep(clusterLease) // its lease as well
		}
		away.again()
		await(t, away.name+": the session goes on", func() bool {
			_, err := conn.submit("alice@example.org", "bob@example.net", letter("after "+away.name))
			if reply := new(unexpected); err != nil && !errors.As(err, &reply) {
				t.Fatal(err)
			}
			return err == nil
		})
		await(t, "delivery", func() bool { return c.hop.has("after "+away.name) && c.left() == 0 })
	}
	if _, again, _ := c.hop.counts(); again != 0 {
		t.Errorf("%d were delivered again: their outcome was not recorded", again)
	}
	if c.hop.has("stopped") || c.hop.has("silent") {
		t.Error("what was refused was delivered")
	}
}
