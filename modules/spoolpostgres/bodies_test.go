//go:build linux

package spoolpostgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// bucket is gofakes3 in this process: it speaks S3 and verifies signatures.
type bucket struct {
	*httptest.Server
	backend *s3mem.Backend
	mu      sync.Mutex
	before  func(w http.ResponseWriter, r *http.Request) bool
}

func startBucket(t testing.TB) *bucket {
	t.Helper()
	b := &bucket{backend: s3mem.New()}
	if err := b.backend.CreateBucket(context.Background(), "queue"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(lister{b.backend}, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret"})).Server()
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		before := b.before
		b.mu.Unlock()
		if before == nil || !before(w, r) {
			s3.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// lister is a backend that takes an empty delimiter for none, as S3 does.
type lister struct{ *s3mem.Backend }

func (l lister) ListBucket(ctx context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	prefix.HasDelimiter = prefix.Delimiter != ""
	return l.Backend.ListBucket(ctx, name, prefix, page)
}

func (b *bucket) set(before func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
}

func (b *bucket) objects(t testing.TB) (names []string) {
	t.Helper()
	list, err := b.backend.ListBucket(context.Background(), "queue", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		names = append(names, o.Key)
	}
	return names
}

// bodies is the setting; over is from what size on messages go there.
func bodies(t testing.TB, url, secret string, over int64) *Bodies {
	t.Helper()
	b := &Bodies{Over: over, Timeout: conf.Duration(30 * time.Second), Bucket: objectstore.Bucket{Endpoint: url, Name: "queue", Prefix: "mail/",
		AccessKey: "msa", SecretKey: conf.Secret("{env.MSA_S3_" + secret + "}"), PathStyle: true}}
	if err := b.provision(zap.NewNop(), 16); err != nil {
		t.Fatal(err)
	}
	return b
}

var halfWithBodies halves

// A spool whose messages all lie in S3 is as good. Outside CI it is not held again to what has nothing to do with where they lie.
func TestConformanceWithBodies(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	schemas := make(map[string]string)
	b := bodies(t, store.URL, "s3cret", 1)
	part := halfWithBodies.begin()
	elsewhere := regexp.MustCompile("/(Journal|Turns|Priority|Lane|Tally|Notes|Order|Probe|Proven|Deadline|ClockSetBack|Held|Change|List)")
	msatest.Spool(t, func(t testing.TB, dir string) queue.OpenSpool {
		if !installed.InCI() && elsewhere.MatchString(t.Name()) {
			t.Skip("a repetition of TestConformance")
		}
		if schemas[dir] == "" {
			part(t)
			schemas[dir] = fmt.Sprintf("s%d %s", len(schemas), filepath.Base(dir))
		}
		return open(t, Options{DSN: srv.DSN(), Schema: schemas[dir], Node: "one", Bodies: b, keepEvery: 50 * time.Millisecond})
	})
}

var large = []byte("Subject: large\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789\r\n", 5000))

func submitLarge(s *Store, id string) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(large); err != nil {
		return err
	}
	a := accept(id)
	a.Header, a.Entry.Size = []byte("X: y\r\n"), int64(len(large)+6)
	return d.Commit(context.Background(), a)
}

func TestBodies(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Bodies: bodies(t, store.URL, "s3cret", 128<<10)})
	defer s.Close()
	if err := errors.Join(submit(s, "SMALL"), submitLarge(s, "L1"), submitLarge(s, "L2")); err != nil {
		t.Fatal(err)
	}
	if n := store.objects(t); len(n) != 2 || !strings.HasPrefix(n[0], "mail/"+s.cluster+"/L1-") {
		t.Errorf("objects %q", n)
	}
	if n := srv.Exec(t, "SELECT DISTINCT key FROM msa.msa_body"); n != 1 {
		t.Errorf("%d messages lie in the database", n)
	}
	// It is read as it is needed, from anywhere.
	m, err := s.OpenMessage(context.Background(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 10)
	if _, err := io.ReadFull(m, head); err != nil || string(head) != "X: y\r\nSubj" {
		t.Errorf("%q, %v", head, err)
	}
	if _, err := m.Seek(-4, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if tail, err := io.ReadAll(m); err != nil || string(tail) != "89\r\n" {
		t.Errorf("%q, %v", tail, err)
	}
	_, _ = m.Seek(6, io.SeekStart)
	if all, err := io.ReadAll(m); err != nil || !bytes.Equal(all, large) {
		t.Errorf("%d octets, %v", len(all), err)
	}
	_ = m.Close()
	// What is delivered or deleted is gone from S3 too.
	if _, err := s.Delete(context.Background(), "L1"); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"SMALL", "L2"} {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if err != nil || l.Entry().ID != id {
			t.Fatal(id, err)
		}
		j := l.Job().Clone()
		j.Recipients[0].State = queue.Delivered
		if err := l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
			t.Error(err)
		}
	}
	await(t, "the objects are gone", func() bool { return len(store.objects(t)) == 0 })
}

// What S3 does not take is not accepted, and a check finds what it has lost.
func TestBodiesRefused(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	good := open(t, Options{DSN: srv.DSN(), Node: "one", Bodies: bodies(t, store.URL, "s3cret", 1)})
	defer good.Close()
	bad := open(t, Options{DSN: srv.DSN(), Node: "two", Bodies: bodies(t, store.URL, "wr0ng", 1)})
	defer bad.Close()
	none := open(t, Options{DSN: srv.DSN(), Node: "three"})
	defer none.Close()
	if err := submitLarge(bad, "L1"); err == nil || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("accepted with a wrong secret: %v", err)
	}
	store.set(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if err := submitLarge(good, "L2"); err == nil {
		t.Error("accepted without S3")
	}
	store.set(nil)
	if got := ids(t, good); len(got) != 0 || len(store.objects(t)) != 0 {
		t.Errorf("%q and objects %q", got, store.objects(t))
	}
	if err := errors.Join(submitLarge(good, "L3"), submitLarge(good, "L4")); err != nil {
		t.Fatal(err)
	}
	if err := submitLarge(good, "L3"); err == nil || len(store.objects(t)) != 2 { // there is one of that id
		t.Errorf("%v, objects %q", err, store.objects(t))
	}
	if _, err := none.OpenMessage(context.Background(), "L3"); !errors.Is(err, errNoBodies) {
		t.Errorf("a node without S3: %v", err)
	}
	if _, err := store.backend.DeleteObject(context.Background(), "queue", store.objects(t)[0]); err != nil {
		t.Fatal(err)
	}
	problems := make(map[string]string)
	if _, _, err := good.Check(context.Background(), func(int) {}, func(id, problem string) { problems[id] = problem }); err != nil ||
		len(problems) != 1 || !strings.Contains(problems["L3"], "missing") {
		t.Errorf("%q, %v", problems, err)
	}
}

// TestBodyOfDeadNode is the process that TestOrphans kills.
func TestBodyOfDeadNode(t *testing.T) {
	dsn := os.Getenv("MSA_TEST_DSN")
	if dsn == "" {
		t.Skip("TestOrphans runs it")
	}
	s := open(t, Options{DSN: dsn, Node: "dead", Lease: 3 * time.Second, Bodies: bodies(t, os.Getenv("MSA_TEST_S3"), "s3cret", 1)})
	t.Log(submitLarge(s, "DEAD"))
}

// A node that is killed in the midst of an upload, or between it and the end of the transaction, leaves no message; and
// no object for more than a day.
func TestOrphans(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	p := newProxy(t, srv)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Lease: 3 * time.Second, Bodies: bodies(t, store.URL, "s3cret", 1)})
	defer s.Close()
	if err := submitLarge(s, "KEPT"); err != nil {
		t.Fatal(err)
	}
	now := make(chan struct{}, 10)
	p.onCommit(func() byte { // between PUT and COMMIT
		if len(store.objects(t)) == 2 {
			now <- struct{}{}
			return 'b'
		}
		return 0
	})
	run := func() {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestBodyOfDeadNode$", "-test.v")
		cmd.Env = append(os.Environ(), "MSA_TEST_DSN="+p.dsn(), "MSA_TEST_S3="+store.URL)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-now:
		case <-time.After(time.Minute):
			t.Error("it never came to that")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	}
	// In mid-PUT.
	killed := make(chan struct{})
	store.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 50_000)
		now <- struct{}{}
		<-killed
		panic(http.ErrAbortHandler)
	})
	run()
	close(killed)
	store.set(nil)
	if len(store.objects(t)) != 1 {
		t.Errorf("half an upload is an object: %q", store.objects(t))
	}
	// Between PUT and COMMIT.
	run()
	if len(store.objects(t)) != 2 {
		t.Errorf("objects %q", store.objects(t))
	}
	if n, err := s.removeOrphans(context.Background(), time.Now().Add(-orphanAge)); n != 0 || err != nil {
		t.Errorf("%d removed before a day has passed, %v", n, err)
	}
	if n, err := s.removeOrphans(context.Background(), time.Now().Add(time.Minute)); n != 1 || err != nil {
		t.Errorf("%d removed after a day, %v", n, err)
	}
	if got := ids(t, s); strings.Join(got, " ") != "KEPT" {
		t.Errorf("messages %q", got)
	}
	if err := s.checkWhole("KEPT"); err != nil {
		t.Error(err)
	}
}

func (s *Store) checkWhole(id string) error {
	_, err := s.checkMessage(context.Background(), id)
	return err
}

// What was removed from the bucket is not to be removed again when it then fails.
func TestRemovedInParts(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	s.bodies = bodies(t, store.URL, "s3cret", 1) // it removes nothing by itself
	var mu sync.Mutex
	allowed := 0
	store.set(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodDelete {
			return false
		}
		if allowed > 0 {
			allowed--
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	const messages = 10
	for i := range messages {
		id := fmt.Sprint("L", i)
		if err := submitLarge(s, id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	allowed = 4
	mu.Unlock()
	if err := s.removeGone(t.Context()); err == nil {
		t.Error("the bucket has refused, and nobody says so")
	}
	if objects, gone := len(store.objects(t)), srv.Exec(t, "SELECT 1 FROM msa.msa_gone"); objects != messages-4 || gone != messages-4 {
		t.Errorf("%d objects are there, %d are to be removed", objects, gone)
	}
	store.set(nil)
	if err := s.removeGone(t.Context()); err != nil || len(store.objects(t)) != 0 {
		t.Errorf("%q are left, %v", store.objects(t), err)
	}
}

// While the bucket takes its time to list objects no transaction idles, which the database would end, and no connection is kept from others.
func TestOrphansListedSlowly(t *testing.T) {
	t.Parallel()
	srv, store := postgres.Shared(t), startBucket(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Bodies: bodies(t, store.URL, "s3cret", 1)})
	defer s.Close()
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	store.set(func(http.ResponseWriter, *http.Request) bool {
		asked <- struct{}{}
		<-answer
		return false
	})
	done := make(chan error, 1)
	go func() {
		_, err := s.removeOrphans(context.Background(), time.Now())
		done <- err
	}()
	<-asked
	if n := srv.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"); n > 0 {
		t.Errorf("%d transactions idle", n)
	}
	close(answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
