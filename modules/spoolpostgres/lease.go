package spoolpostgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// hands is what this node has leased.
type hands struct {
	mu     sync.Mutex
	leases map[*lease]bool
	count  map[string]int // by lane
	timer  *time.Timer
	length time.Duration
	until  time.Time // leases are this node's
	ended  func()    // called when they no longer are
}

func (h *hands) init() { h.leases, h.count = make(map[*lease]bool), make(map[string]int) }

func (h *hands) in(lane string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count[lane]
}

func (h *hands) lanes() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for lane := range h.count {
		all = append(all, lane)
	}
	return all
}

func (h *hands) add(l *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leases[l] = true
	h.count[l.lane]++
}

// remove tells whether the lease was still there.
func (h *hands) remove(l *lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.leases[l] {
		return false
	}
	delete(h.leases, l)
	if h.count[l.lane]--; h.count[l.lane] <= 0 {
		delete(h.count, l.lane)
	}
	return true
}

func (h *hands) list() (keys []int64, numbers []int32) {
	keys, numbers = []int64{}, []int32{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.leases {
		keys, numbers = append(keys, l.key), append(numbers, l.number)
	}
	return keys, numbers
}

// renewed has leases go on from then. When they are not renewed they end here before they do in the
// database, whose answer came later.
func (h *hands) renewed(from time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	h.until = from.Add(h.length)
	h.timer = time.AfterFunc(time.Until(h.until), func() { h.end(false) })
}

// over tells whether what is this node's may be somebody else's by now, such as after the process was stopped.
func (h *hands) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !time.Now().Before(h.until)
}

// loseAll is when what was leased is, or may be, somebody else's.
func (h *hands) loseAll() { h.end(true) }

// end has attempts end. Until others have taken them over their outcomes may still be recorded.
func (h *hands) end(over bool) {
	h.ended()
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.leases {
		l.lose.Do(func() { close(l.lost) })
	}
	if over {
		clear(h.leases)
		clear(h.count)
	}
}

// lease is one job in the hands of one worker.
type lease struct {
	s      *Store
	key    int64
	number int32
	owner  int64
	token  int64
	lane   string
	octets int64
	object *string // its name, where the message lies in S3
	small  []byte  // the message itself, where it is
	entry  *queue.Entry
	job    *queue.Job
	status *queue.Status
	lost   chan struct{}
	lose   sync.Once

	mu     sync.Mutex
	ended  bool
	unsure []string // facts of a Record of which nobody could tell whether it was committed
}

func (l *lease) Entry() *queue.Entry   { return l.entry }
func (l *lease) Job() *queue.Job       { return l.job }
func (l *lease) Status() *queue.Status { return l.status }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Open implements queue.Lease.
func (l *lease) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	if l.small != nil && ctx.Err() == nil && !l.s.closed() {
		return wholeMessage{bytes.NewReader(l.small)}, nil
	}
	return l.s.message(ctx, l.key, l.octets, l.object)
}

// inLease is the size of messages that come with their lease, which saves a question.
const inLease = 64 << 10

type wholeMessage struct{ *bytes.Reader }

func (wholeMessage) Close() error { return nil }

// selectHanded is the end of a statement that has claimed jobs: h, of which those that were handed out come with all that there is to know. $5 is inLease.
const selectHanded = `SELECT h.key, h.number, h.token, h.due, h.deadline, h.id, e.entry, e.status, e.octets, e.object, j.job, b.data FROM h
	LEFT JOIN msa_entry e ON e.key = CASE WHEN h.handed THEN h.key END
	LEFT JOIN msa_job j ON j.key = e.key AND j.number = h.number LEFT JOIN msa_body b ON b.key = e.key AND b.n = 0 AND e.octets <= $5`

// Statements that name jobs by their keys compare the owner with IS NOT DISTINCT FROM, which no index serves: the planner takes it, where
// statistics know of no owner, that reading all that a node has in hand is as good as looking a key up.

// handOut makes claims leases; nil for those that are no longer this node's.
func (s *Store) handOut(ctx context.Context, claims []claim) (leases []*lease, err error) {
	leases = make([]*lease, len(claims))
	keys, numbers, tokens := columns(claims)
	owner := s.owner.Load()
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		rows, err := db.Query(ctx, `WITH h AS (UPDATE msa_due d SET handed = true FROM unnest($2::bigint[], $3::int[], $4::bigint[]) AS w(key, number, token)
			WHERE d.key = w.key AND d.number = w.number AND d.token = w.token AND d.owner IS NOT DISTINCT FROM $1 RETURNING d.key, d.number, d.token, d.due, d.deadline, d.id, d.handed) `+selectHanded,
			owner, keys, numbers, tokens, inLease)
		if err != nil {
			return err
		}
		got, err := s.handed(ctx, owner, rows)
		for i, c := range claims {
			if leases[i] = got[[2]int64{c.key, int64(c.number)}].lease; leases[i] != nil {
				leases[i].lane = c.lane
			}
		}
		return err
	})
	return leases, err
}

// hand is a job that was claimed, with a lease if it was handed out.
type hand struct {
	token int64
	lease *lease
}

// handed reads what selectHanded gives, by key and number. What cannot be read is put off, so that it holds up no other.
func (s *Store) handed(ctx context.Context, owner int64, rows pgx.Rows) (map[[2]int64]hand, error) {
	defer rows.Close()
	got := make(map[[2]int64]hand)
	var unreadable []*lease
	for rows.Next() {
		l := &lease{s: s, owner: owner, lost: make(chan struct{})}
		var id string
		var entry, status, job []byte
		var due, deadline int64
		var octets *int64
		if err := rows.Scan(&l.key, &l.number, &l.token, &due, &deadline, &id, &entry, &status, &octets, &l.object, &job, &l.small); err != nil {
			return nil, err
		}
		h := hand{token: l.token}
		if octets != nil {
			l.octets, h.lease = *octets, l
			if err := l.read(entry, status, job, due, deadline); err != nil {
				s.log.Error("a message cannot be read, and waits; caddy msa spool check finds all of them", zap.String("queue_id", id), zap.Duration("for", unreadableFor), zap.Error(err))
				unreadable = append(unreadable, l)
				continue
			}
		}
		got[[2]int64{l.key, int64(l.number)}] = h
	}
	if err := rows.Err(); err != nil || len(unreadable) == 0 {
		return got, err
	}
	return got, s.putOff(ctx, unreadable)
}

func (l *lease) read(entry, status, job []byte, due, deadline int64) (err error) {
	if l.entry, l.status, err = decode(entry, status); err != nil {
		return err
	}
	if job != nil {
		if l.job, err = queue.DecodeJob(job, l.entry); err != nil {
			return err
		}
		if nanos(l.job.Due) != due { // see clock.go
			l.job.Due = timeOf(due)
		}
		if deadline < nanos(l.job.Deadline) {
			l.job.Deadline = timeOf(deadline)
		}
		return nil
	}
	for _, open := range []int{0, 1} {
		if special, ok := l.status.Special(open, 0); ok {
			l.job = &special
			return nil
		}
	}
	return errors.New("entry " + l.entry.ID + " has a job that nothing follows from")
}

func decode(entry, status []byte) (*queue.Entry, *queue.Status, error) {
	e := new(queue.Entry)
	if err := json.Unmarshal(entry, e); err != nil {
		return nil, nil, err
	}
	st, err := decodeStatus(status)
	return e, st, err
}

func decodeStatus(status []byte) (*queue.Status, error) {
	st := new(queue.Status)
	if status == nil {
		return st, nil
	}
	return st, json.Unmarshal(status, st)
}

// Release gives the job back unchanged.
func (l *lease) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	s := l.s
	if !s.hands.remove(l) || s.closed() {
		return
	}
	err := s.ask(context.Background(), func(ctx context.Context, db *pgxpool.Pool) error {
		_, err := db.Exec(ctx, "UPDATE msa_due SET owner = NULL, handed = false WHERE key = $1 AND number = $2 AND owner IS NOT DISTINCT FROM $3 AND token = $4", l.key, l.number, l.owner, l.token)
		return err
	})
	if err != nil {
		go func() {
			s.turns.mu.Lock()
			s.turns.doubt = true
			s.turns.mu.Unlock()
			s.wake()
		}()
		return
	}
	s.changed()
}
