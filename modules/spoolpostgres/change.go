package spoolpostgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// change is an entry that is being altered in a transaction, which has it locked.
type change struct {
	tx     *transaction
	turns  *turns // are told of lanes
	key    int64
	entry  *queue.Entry
	status *queue.Status
	stored []byte // the status
	next   int
	octets int64
	due    map[int]bool // jobs that wait or are leased, by number: whether they are leased
	copies map[int]bool // those of due that are of a copy
}

// Statements that are sent at once: entries are locked before any of their rows in msa_due, in the order of their keys.
const (
	lockEntry = "SELECT entry, status, next, octets FROM msa_entry WHERE key = $1 FOR UPDATE"
	lockRows  = "SELECT key, number, handed, copied FROM msa_due WHERE key = ANY($1) ORDER BY key, number FOR UPDATE"
)

// queueLockRows locks the jobs of changes that wait or are leased. What is claimed and was not handed out waits.
func queueLockRows(b *pgx.Batch, of map[int64]*change) {
	keys := make([]int64, 0, len(of))
	for key, e := range of {
		keys = append(keys, key)
		e.due, e.copies = make(map[int]bool), make(map[int]bool)
	}
	b.Queue(lockRows, keys).Query(func(rows pgx.Rows) error {
		var key int64
		var number int
		var handed, copied bool
		_, err := pgx.ForEachRow(rows, []any{&key, &number, &handed, &copied}, func() error {
			of[key].waits(number, handed, copied)
			return nil
		})
		return err
	})
}

// lock locks the entry and its jobs that wait or are leased, for an operator, who knows the id.
func (e *change) lock(ctx context.Context, id string) error {
	err := e.tx.QueryRow(ctx, "SELECT key FROM msa_entry WHERE id = $1", id).Scan(&e.key)
	if err == nil {
		var entry []byte
		b := new(pgx.Batch)
		b.Queue(lockEntry, e.key).QueryRow(func(row pgx.Row) error { return row.Scan(&entry, &e.stored, &e.next, &e.octets) })
		queueLockRows(b, map[int64]*change{e.key: e})
		if err = e.tx.SendBatch(ctx, b).Close(); err == nil {
			e.entry, e.status, err = decode(entry, e.stored)
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.ErrNotFound
	}
	return err
}

// waits notes that a job waits or is leased.
func (e *change) waits(number int, handed, copied bool) {
	e.due[number] = handed
	if copied {
		e.copies[number] = true
	}
}

// open is how many jobs have a recipient to deliver to.
func (e *change) open() (n int) {
	for number := range e.due {
		if number > 0 {
			n++
		}
	}
	return n
}

// inFlight is how many jobs are leased.
func (e *change) inFlight() (n int) {
	for number, handed := range e.due {
		if handed && number > 0 {
			n++
		}
	}
	return n
}

// put stores a job that is not leased.
func (e *change) put(j *queue.Job) error {
	e.next = max(e.next, j.Number+1)
	j.Leased = false
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	e.tx.atCommit("INSERT INTO msa_job (key, number, job) VALUES ($1, $2, $3) ON CONFLICT (key, number) DO UPDATE SET job = excluded.job", e.key, j.Number, text)
	if !j.Pending() {
		e.drop(j.Number)
		return nil
	}
	e.waits(j.Number, false, j.Copy != "")
	e.wait(j)
	return nil
}

// wait has a job wait. Its new token is more than what another node may have read of it.
func (e *change) wait(j *queue.Job) {
	e.turns.heard(j.Lane)
	e.tx.atCommit(`INSERT INTO msa_due (key, number, id, usr, rank, lane, due, deadline, accepted, held, copied, token)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nextval(pg_get_serial_sequence('msa_entry', 'key')))
		ON CONFLICT (key, number) DO UPDATE SET lane = excluded.lane, due = excluded.due, deadline = excluded.deadline, held = excluded.held,
			owner = NULL, handed = false, token = excluded.token`,
		e.key, j.Number, e.entry.ID, e.entry.User, -e.entry.Priority, j.Lane, nanos(j.Due), deadlineOf(j), nanos(e.entry.Accepted), e.status.Held != "", j.Copy != "")
}

func deadlineOf(j *queue.Job) int64 {
	if j.Deadline.IsZero() {
		return never
	}
	return nanos(j.Deadline)
}

func (e *change) drop(number int) {
	if _, ok := e.due[number]; !ok {
		return
	}
	delete(e.due, number)
	delete(e.copies, number)
	e.tx.atCommit("DELETE FROM msa_due WHERE key = $1 AND number = $2", e.key, number)
}

// finish stores the status, and what follows from it.
func (e *change) finish(ends bool) error {
	open := e.open()
	if ends || e.status.Ended(open) {
		e.remove()
		return nil
	}
	var status []byte
	if !e.status.IsZero() {
		var err error
		if status, err = json.Marshal(e.status); err != nil {
			return err
		}
	}
	e.tx.atCommit("UPDATE msa_entry SET status = $2, next = $3 WHERE key = $1 AND (status IS DISTINCT FROM $2 OR next <> $3)", e.key, status, e.next)
	if !bytes.Equal(status, e.stored) {
		// Held ones included that are leased: they come back as that.
		e.tx.atCommit("UPDATE msa_due SET held = $2, owner = CASE WHEN handed THEN owner END WHERE key = $1 AND held <> $2", e.key, e.status.Held != "")
	}
	if handed := e.due[0]; handed {
		return nil // it follows when it is recorded
	}
	if special, ok := e.status.Special(open, len(e.copies)); ok {
		e.wait(&special)
	} else {
		e.drop(0)
	}
	return nil
}

// remove takes the entry away with all that belongs to it.
func (e *change) remove() { e.tx.removeAtCommit(e.key, e.octets) }
