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

// Statements that are sent at once: the entry is locked before any of its rows in msa_due.
const (
	lockEntry = "SELECT entry, status, next, octets FROM msa_entry WHERE key = $1 FOR UPDATE"
	lockRows  = "SELECT number, handed, copied FROM msa_due WHERE key = $1 ORDER BY number FOR UPDATE"
)

// lock locks the entry and its jobs that wait or are leased. What is claimed and was not handed out waits. also is done in between.
func (e *change) lock(ctx context.Context, also func(*pgx.Batch)) error {
	var entry []byte
	b := new(pgx.Batch)
	b.Queue(lockEntry, e.key).QueryRow(func(row pgx.Row) error { return row.Scan(&entry, &e.stored, &e.next, &e.octets) })
	if also != nil {
		also(b)
	}
	e.due, e.copies = make(map[int]bool), make(map[int]bool)
	b.Queue(lockRows, e.key).Query(func(rows pgx.Rows) error {
		var number int
		var handed, copied bool
		_, err := pgx.ForEachRow(rows, []any{&number, &handed, &copied}, func() error {
			e.waits(number, handed, copied)
			return nil
		})
		return err
	})
	err := e.tx.SendBatch(ctx, b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.ErrNotFound
	}
	if err == nil {
		e.entry, e.status, err = decode(entry, e.stored)
	}
	return err
}

// lockID is lock for an operator, who knows the id.
func (e *change) lockID(ctx context.Context, id string) error {
	err := e.tx.QueryRow(ctx, "SELECT key FROM msa_entry WHERE id = $1", id).Scan(&e.key)
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.ErrNotFound
	}
	if err != nil {
		return err
	}
	return e.lock(ctx, nil)
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
func (e *change) put(ctx context.Context, j *queue.Job) error {
	e.next = max(e.next, j.Number+1)
	j.Leased = false
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if _, err := e.tx.Exec(ctx, "INSERT INTO msa_job (key, number, job) VALUES ($1, $2, $3) ON CONFLICT (key, number) DO UPDATE SET job = excluded.job", e.key, j.Number, text); err != nil {
		return err
	}
	if !j.Pending() {
		return e.drop(ctx, j.Number)
	}
	e.waits(j.Number, false, j.Copy != "")
	return e.wait(ctx, j)
}

// wait has a job wait. Its new token is more than what another node may have read of it.
func (e *change) wait(ctx context.Context, j *queue.Job) error {
	e.turns.heard(j.Lane)
	deadline := int64(never)
	if !j.Deadline.IsZero() {
		deadline = nanos(j.Deadline)
	}
	_, err := e.tx.Exec(ctx, `INSERT INTO msa_due (key, number, id, usr, rank, lane, due, deadline, accepted, held, copied, token)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, nextval(pg_get_serial_sequence('msa_entry', 'key')))
		ON CONFLICT (key, number) DO UPDATE SET lane = excluded.lane, due = excluded.due, deadline = excluded.deadline, held = excluded.held,
			owner = NULL, handed = false, token = excluded.token`,
		e.key, j.Number, e.entry.ID, e.entry.User, -e.entry.Priority, j.Lane, nanos(j.Due), deadline, nanos(e.entry.Accepted), e.status.Held != "", j.Copy != "")
	return err
}

func (e *change) drop(ctx context.Context, number int) error {
	if _, ok := e.due[number]; !ok {
		return nil
	}
	delete(e.due, number)
	delete(e.copies, number)
	_, err := e.tx.Exec(ctx, "DELETE FROM msa_due WHERE key = $1 AND number = $2", e.key, number)
	return err
}

// finish stores the status, and what follows from it.
func (e *change) finish(ctx context.Context, ends bool) error {
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
	if _, err := e.tx.Exec(ctx, "UPDATE msa_entry SET status = $2, next = $3 WHERE key = $1 AND (status IS DISTINCT FROM $2 OR next <> $3)", e.key, status, e.next); err != nil {
		return err
	}
	if !bytes.Equal(status, e.stored) {
		// Held ones included that are leased: they come back as that.
		if _, err := e.tx.Exec(ctx, "UPDATE msa_due SET held = $2, owner = CASE WHEN handed THEN owner END WHERE key = $1 AND held <> $2", e.key, e.status.Held != ""); err != nil {
			return err
		}
	}
	if handed := e.due[0]; handed {
		return nil // it follows when it is recorded
	}
	special, ok := e.status.Special(open, len(e.copies))
	if !ok {
		return e.drop(ctx, 0)
	}
	return e.wait(ctx, &special)
}

// remove takes the entry away with all that belongs to it, at the end of the transaction.
func (e *change) remove() { e.removeWith(new(factRows)) }

// removeEntry is one statement, since each costs as much again as what it does: every message ends with it.
const removeEntry = `WITH e AS (DELETE FROM msa_entry WHERE key = $1 RETURNING object),
	b AS (DELETE FROM msa_body WHERE key = $1),
	j AS (DELETE FROM msa_job WHERE key = $1),
	d AS (DELETE FROM msa_due WHERE key = $1),
	g AS (INSERT INTO msa_gone SELECT object FROM e WHERE object IS NOT NULL)
	INSERT INTO msa_sum VALUES (-1, $2)`

func (e *change) removeWith(facts *factRows) {
	b := new(pgx.Batch)
	facts.queue(b)
	b.Queue(removeEntry, e.key, -e.octets)
	e.tx.atCommit(b)
}
