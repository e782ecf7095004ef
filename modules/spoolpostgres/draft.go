package spoolpostgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	threshold = 128 << 10 // octets of a body that are kept in memory; a larger one gets a file
	chunk     = 1 << 20   // octets of a row of a message
)

var errEnded = errors.New("the draft has ended")

// draft is a message being written: in memory, or in a file that has no name and ends with the process.
type draft struct {
	s     *Store
	buf   []byte // never used again once the draft has ended: readers may be open on it
	file  *shared
	size  int64
	err   error
	ended bool

	object string // the name of what was stored in S3
}

// body is what was written.
func (d *draft) body() io.Reader {
	if d.file != nil {
		return io.NewSectionReader(d.file, 0, d.size)
	}
	return bytes.NewReader(d.buf)
}

// shared is a file that is closed with the last who reads it.
type shared struct {
	*os.File
	users atomic.Int32
}

func (f *shared) release() {
	if f.users.Add(-1) == 0 {
		_ = f.File.Close()
	}
}

// Create begins a message.
func (s *Store) Create(ctx context.Context) (queue.Draft, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	return &draft{s: s}, nil
}

func (d *draft) Write(p []byte) (n int, err error) {
	switch {
	case d.ended:
		return 0, errEnded
	case d.err != nil:
		return 0, d.err
	}
	if d.file == nil && len(d.buf)+len(p) > threshold {
		f, err := os.CreateTemp("", "msa-draft-")
		if err != nil {
			d.err = err
			return 0, err
		}
		d.file = &shared{File: f}
		d.file.users.Store(1)
		if err := os.Remove(f.Name()); err != nil {
			d.err = err
			return 0, err
		}
		if _, d.err = f.Write(d.buf); d.err != nil {
			return 0, d.err
		}
		d.buf = nil
	}
	if d.file == nil {
		d.buf = append(d.buf, p...)
		n = len(p)
	} else {
		n, d.err = d.file.Write(p)
	}
	d.size += int64(n)
	return n, d.err
}

// Reader opens what has been written so far.
func (d *draft) Reader() (io.ReadCloser, error) {
	switch {
	case d.ended:
		return nil, errEnded
	case d.err != nil:
		return nil, d.err
	case d.file == nil:
		return io.NopCloser(bytes.NewReader(d.buf[:len(d.buf):len(d.buf)])), nil
	}
	d.file.users.Add(1)
	return &fileReader{Reader: io.NewSectionReader(d.file, 0, d.size), file: d.file}, nil
}

type fileReader struct {
	io.Reader
	file   *shared
	closed atomic.Bool
}

func (r *fileReader) Close() error {
	if r.closed.CompareAndSwap(false, true) {
		r.file.release()
	}
	return nil
}

// Commit stores the message. It returns nil only when the database certainly has it.
func (d *draft) Commit(ctx context.Context, a *queue.Accept) error {
	if d.ended {
		return errEnded
	}
	if err := d.s.check(ctx); err != nil {
		return err
	}
	if err := d.put(ctx, a); err != nil {
		return err
	}
	err := d.s.tx(ctx, func(ctx context.Context, tx *transaction) error { return d.store(ctx, tx, a) },
		func(ctx context.Context) (there bool, err error) {
			err = d.s.quick.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM msa_entry WHERE id = $1)", a.Entry.ID).Scan(&there)
			return there, err
		})
	switch {
	case errors.Is(err, errUncertain) && a.Once != nil:
		// The client may be told that it was accepted when it comes again: were it deleted by then, it would be lost.
	case errors.Is(err, errUncertain):
		d.s.disown(a.Entry.ID)
	case err != nil:
		d.unput()
	}
	d.end()
	if err == nil {
		d.s.quota.admitted(int64(len(a.Header)) + d.size)
		d.s.changed()
	}
	return err
}

// acceptMessage stores all that there is of a message but what is beyond the first piece.
var acceptMessage = `WITH e AS (INSERT INTO msa_entry (id, entry, status, next, octets, object) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING key),
	s AS (INSERT INTO msa_sum SELECT 1, $5::bigint FROM e),
	b AS (INSERT INTO msa_body (key, n, data) SELECT key, 0, $7::bytea FROM e WHERE $7::bytea IS NOT NULL),
	j AS (INSERT INTO msa_job (key, number, job) SELECT e.key, w.number, w.job FROM e, unnest($8::int[], $9::bytea[]) AS w(number, job)),
	d AS (INSERT INTO msa_due (key, number, id, usr, rank, lane, due, deadline, accepted, held, copied)
		SELECT e.key, w.number, $1, $10, $11, w.lane, w.due, w.deadline, $12, $13, w.copied FROM e, unnest($8::int[], $14::boolean[], $15::text[], $16::bigint[], $17::bigint[], $18::boolean[]) AS w(number, pending, lane, due, deadline, copied) WHERE w.pending),
	` + insertFacts("e, ", 19) + " SELECT key FROM e"

// store writes the message in a transaction.
func (d *draft) store(ctx context.Context, tx *transaction, a *queue.Accept) error {
	if d.err != nil {
		return d.err
	}
	if a.Entry.ID == "" {
		return errors.New("the entry has no id")
	}
	entry, err := json.Marshal(a.Entry)
	if err != nil {
		return err
	}
	jobs := a.Jobs
	if jobs == nil {
		jobs = []queue.Job{queue.NewJob(a.Entry)}
	}
	e := &change{tx: tx, turns: &d.s.turns, entry: a.Entry, status: &queue.Status{Held: a.Held}, next: 1, octets: int64(len(a.Header)) + d.size, due: make(map[int]bool), copies: make(map[int]bool)}
	var status []byte
	if a.Held != "" {
		if status, err = json.Marshal(e.status); err != nil {
			return err
		}
	}
	if a.Once != nil {
		if err := remember(ctx, tx, a); err != nil {
			return err
		}
	}
	next := 1
	for i := range jobs {
		next = max(next, jobs[i].Number+1)
	}
	var object *string
	if d.object != "" {
		object = &d.object
	}
	var w waiting
	for i := range jobs {
		j := jobs[i].Clone()
		if j.Number == 0 {
			j.Number = next
			next++
		}
		j.Leased = false
		if err := w.add(j); err != nil {
			return err
		}
	}
	var first []byte // piece of the message
	body := io.MultiReader(bytes.NewReader(a.Header), d.body())
	if d.object == "" {
		first = make([]byte, min(chunk, e.octets))
		if _, err := io.ReadFull(body, first); err != nil && len(first) > 0 {
			return err
		}
	}
	facts, err := d.s.rows(a.Facts)
	if err != nil {
		return err
	}
	b := new(pgx.Batch)
	b.Queue(acceptMessage, append([]any{
		a.Entry.ID, entry, status, next + len(jobs), e.octets, object, first, w.numbers, w.jobs,
		a.Entry.User, -a.Entry.Priority, nanos(a.Entry.Accepted), a.Held != "", w.pending, w.lanes, w.due, w.deadlines, w.copied}, facts.args()...)...).
		QueryRow(func(row pgx.Row) error { return row.Scan(&e.key) })
	err = tx.SendBatch(ctx, b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("entry %s exists already", a.Entry.ID)
	}
	if err != nil || d.object != "" {
		return err
	}
	for n := 1; int64(n)*chunk < e.octets; n++ {
		data := make([]byte, min(chunk, e.octets-int64(n)*chunk))
		if _, err := io.ReadFull(body, data); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO msa_body (key, n, data) VALUES ($1, $2, $3)", e.key, n, data); err != nil {
			return err
		}
	}
	return nil
}

// waiting are a new message's jobs, as arrays that go with one statement.
type waiting struct {
	numbers        []int32
	jobs           [][]byte
	pending        []bool
	copied         []bool
	lanes          []string
	due, deadlines []int64
}

func (w *waiting) add(j *queue.Job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	deadline := int64(never)
	if !j.Deadline.IsZero() {
		deadline = nanos(j.Deadline)
	}
	w.numbers, w.jobs, w.pending = append(w.numbers, int32(j.Number)), append(w.jobs, text), append(w.pending, j.Pending()) //nolint:gosec // it is small
	w.lanes, w.due, w.deadlines = append(w.lanes, j.Lane), append(w.due, nanos(j.Due)), append(w.deadlines, deadline)
	w.copied = append(w.copied, j.Copy != "")
	return nil
}

// Abort leaves nothing of the message.
func (d *draft) Abort() { d.end() }

func (d *draft) end() {
	if d.ended {
		return
	}
	d.ended, d.buf = true, nil
	if d.file != nil {
		d.file.release()
	}
}

// message reads a stored one, a chunk at a time or, where it has a name, from S3.
func (s *Store) message(ctx context.Context, key, size int64, object *string) (io.ReadSeekCloser, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if object != nil {
		return s.object(ctx, *object)
	}
	m := &message{s: s, ctx: context.WithoutCancel(ctx), key: key, size: size, n: -1}
	if err := m.fetch(ctx, 0); err != nil {
		return nil, err
	}
	return m, nil
}

type message struct {
	s         *Store
	ctx       context.Context
	key, size int64
	at        int64
	n         int64 // the chunk that data is
	data      []byte
}

func (m *message) fetch(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, m.s.timeout)
	defer cancel()
	var err error
	for range tries {
		if err = m.s.pool.QueryRow(ctx, "SELECT data FROM msa_body WHERE key = $1 AND n = $2", m.key, n).Scan(&m.data); err == nil || !again(err) {
			break
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.ErrNotFound
	}
	m.n = n
	if err != nil {
		m.n = -1
	}
	return m.s.failed(ctx, err)
}

func (m *message) Read(p []byte) (int, error) {
	if m.at >= m.size {
		return 0, io.EOF
	}
	if n := m.at / chunk; n != m.n {
		if err := m.fetch(m.ctx, n); err != nil {
			return 0, err
		}
	}
	off := m.at - m.n*chunk
	if off >= int64(len(m.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, m.data[off:])
	m.at += int64(n)
	return n, nil
}

func (m *message) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += m.at
	case io.SeekEnd:
		offset += m.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the message")
	}
	m.at = offset
	return offset, nil
}

func (m *message) Close() error {
	m.data, m.n = nil, -1
	return nil
}
