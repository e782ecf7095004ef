package spoolpostgres

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// hands is what this node has leased.
type hands struct {
	mu     sync.Mutex
	leases map[*lease]bool
	count  map[string]int // by lane
	timer  *time.Timer
	length time.Duration
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
	h.timer = time.AfterFunc(time.Until(from.Add(h.length)), func() { h.end(false) })
}

// loseAll is when what was leased is, or may be, somebody else's.
func (h *hands) loseAll() { h.end(true) }

// end has attempts end. Until others have taken them over their outcomes may still be recorded.
func (h *hands) end(over bool) {
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
	entry  *queue.Entry
	job    *queue.Job
	status *queue.Status
	lost   chan struct{}
	lose   sync.Once

	mu    sync.Mutex
	ended bool
}

func (l *lease) Entry() *queue.Entry   { return l.entry }
func (l *lease) Job() *queue.Job       { return l.job }
func (l *lease) Status() *queue.Status { return l.status }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Open implements queue.Lease.
func (l *lease) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	return l.s.message(ctx, l.key, l.octets, l.object)
}

// handOut makes a claim a lease; nil when it is no longer this node's.
func (s *Store) handOut(ctx context.Context, c claim) (*lease, error) {
	l := &lease{s: s, key: c.key, number: c.number, owner: s.owner.Load(), token: c.token, lane: c.lane, lost: make(chan struct{})}
	var entry, status, job []byte
	var due int64
	err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		return db.QueryRow(ctx, `WITH h AS (UPDATE msa_due SET handed = true WHERE key = $1 AND number = $2 AND owner = $3 AND token = $4 RETURNING key, number, due)
			SELECT e.entry, e.status, e.octets, e.object, j.job, h.due FROM h JOIN msa_entry e ON e.key = h.key LEFT JOIN msa_job j ON j.key = h.key AND j.number = h.number`,
			l.key, l.number, l.owner, l.token).Scan(&entry, &status, &l.octets, &l.object, &job, &due)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if l.entry, l.status, err = decode(entry, status); err != nil {
		return nil, err
	}
	if job != nil {
		if l.job, err = queue.DecodeJob(job, l.entry); err != nil {
			return nil, err
		}
		if nanos(l.job.Due) != due { // it was made due when a clock was set back
			l.job.Due = timeOf(due)
		}
	} else if special, ok := l.status.Special(0); ok {
		l.job = &special
	} else if special, ok := l.status.Special(1); ok {
		l.job = &special
	} else {
		return nil, errors.New("entry " + l.entry.ID + " has a job that nothing follows from")
	}
	s.hands.add(l)
	return l, nil
}

func decode(entry, status []byte) (*queue.Entry, *queue.Status, error) {
	e, st := new(queue.Entry), new(queue.Status)
	if err := json.Unmarshal(entry, e); err != nil {
		return nil, nil, err
	}
	if status != nil {
		if err := json.Unmarshal(status, st); err != nil {
			return nil, nil, err
		}
	}
	return e, st, nil
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
		_, err := db.Exec(ctx, "UPDATE msa_due SET owner = NULL, handed = false WHERE key = $1 AND number = $2 AND owner = $3 AND token = $4", l.key, l.number, l.owner, l.token)
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

// Record implements queue.Lease.
func (l *lease) Record(ctx context.Context, r *queue.Record) (err error) {
	defer func() {
		for _, m := range r.Messages { // those that were committed take no notice
			m.Draft.Abort()
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.s
	if l.ended {
		return queue.ErrLeaseEnded
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	for _, m := range r.Messages {
		if d, ok := m.Draft.(*draft); !ok || d.s != s || d.ended {
			return errEnded
		}
	}
	for i := range r.Messages {
		if err := r.Messages[i].Draft.(*draft).put(ctx, &r.Messages[i].Accept); err != nil {
			return err
		}
	}
	var told []*draft
	err = s.tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		told = nil
		return l.record(ctx, tx, r, &told)
	}, nil)
	switch {
	case err == nil:
		for _, d := range told {
			d.end()
		}
	case errors.Is(err, errUncertain):
		return err
	default:
		for _, m := range r.Messages {
			m.Draft.(*draft).unput()
		}
		if !errors.Is(err, queue.ErrLost) {
			return err
		}
	}
	l.ended = true
	s.hands.remove(l)
	s.changed()
	s.objectsGone()
	return err
}

func (l *lease) record(ctx context.Context, tx pgx.Tx, r *queue.Record, told *[]*draft) error {
	e := &change{tx: tx, key: l.key}
	if err := e.lock(ctx); errors.Is(err, queue.ErrNotFound) {
		if l.owner != l.s.owner.Load() {
			return queue.ErrLost
		}
		return nil // the operator deleted it
	} else if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, "DELETE FROM msa_due WHERE key = $1 AND number = $2 AND owner = $3 AND token = $4", l.key, l.number, l.owner, l.token)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return queue.ErrLost
	}
	if err := e.rows(ctx); err != nil {
		return err
	}
	jobs := e.status.Apply(r, l.status, e.next)
	for i := range jobs {
		if err := e.put(ctx, &jobs[i]); err != nil {
			return err
		}
	}
	ends := r.Remove && (l.job.Kind != queue.Bury || e.status.Buries(e.open()))
	if err := e.finish(ctx, ends); err != nil {
		return err
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		d := m.Draft.(*draft)
		if err := d.store(ctx, tx, &m.Accept); err != nil {
			return err
		}
		*told = append(*told, d)
	}
	return nil
}
