package spoolpostgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// inGroup is the size of messages that are accepted together with others. Larger ones would have those wait.
const inGroup = 64 << 10

// newMessage is a message that is to be accepted, as the database takes it. It is complete: nobody waits for a client any more.
type newMessage struct {
	entry   *queue.Entry
	text    []byte // the entry
	status  []byte
	next    int
	octets  int64
	object  *string
	first   []byte           // piece of the message
	whole   func() io.Reader // it
	held    bool
	jobs    []*queue.Job
	texts   [][]byte // the jobs
	facts   *factRows
	once    *queue.Once
	refused bool // its digest is another message's
}

// message makes of the draft what the database takes.
func (d *draft) message(a *queue.Accept) (m *newMessage, err error) {
	if d.err != nil {
		return nil, d.err
	}
	if a.Entry.ID == "" {
		return nil, errors.New("the entry has no id")
	}
	m = &newMessage{entry: a.Entry, octets: int64(len(a.Header)) + d.size, held: a.Held != "", once: a.Once, next: 1}
	if m.text, err = json.Marshal(a.Entry); err != nil {
		return nil, err
	}
	if m.held {
		if m.status, err = json.Marshal(&queue.Status{Held: a.Held}); err != nil {
			return nil, err
		}
	}
	jobs := a.Jobs
	if jobs == nil {
		jobs = []queue.Job{queue.NewJob(a.Entry)}
	}
	for i := range jobs {
		m.next = max(m.next, jobs[i].Number+1)
	}
	for i := range jobs {
		j := jobs[i].Clone()
		if j.Number == 0 {
			j.Number = m.next
			m.next++
		}
		j.Leased = false
		text, err := json.Marshal(j)
		if err != nil {
			return nil, err
		}
		m.jobs, m.texts = append(m.jobs, j), append(m.texts, text)
	}
	if m.facts, err = d.s.rows(a.Facts); err != nil {
		return nil, err
	}
	if d.object != "" {
		m.object = &d.object
		return m, nil
	}
	m.whole = func() io.Reader { return io.MultiReader(bytes.NewReader(a.Header), d.body()) }
	m.first = make([]byte, min(chunk, m.octets))
	_, err = io.ReadFull(m.whole(), m.first)
	if len(m.first) == 0 {
		err = nil
	}
	return m, err
}

// size is what it takes in a group.
func (m *newMessage) size() int { return len(m.text) + len(m.first) }

// different is what no other message of its group may have.
func (m *newMessage) different() any {
	if m.once == nil {
		return nil
	}
	return m.once.Digest
}

// accept stores a message. Those that come at the same time have one COMMIT.
func (s *Store) accept(ctx context.Context, m *newMessage) error {
	until := s.until()
	if len(m.first) <= inGroup && int64(len(m.first)) == m.octets || m.object != nil {
		ctx, cancel := context.WithDeadline(ctx, until.Add(-s.timeout/3))
		defer cancel()
		if err := s.accepts.join(ctx, until, m); !errors.Is(err, errAlone) {
			return s.failed(ctx, err)
		}
	}
	return s.txUntil(ctx, until, false, func(ctx context.Context, tx *transaction) error { return m.store(ctx, tx) }, s.present(m))
}

// acceptGroup stores messages together.
func (s *Store) acceptGroup(some []*joined[*newMessage]) {
	all := make([]*newMessage, len(some))
	for i, m := range some {
		all[i] = m.what
	}
	together(s, some, func(ctx context.Context, tx *transaction) error {
		_, err := storeAll(ctx, tx, all)
		return err
	}, func(m *newMessage) error {
		if m.refused {
			return errAlone // there it is found out what is before it
		}
		return nil
	}, s.present(all...))
}

// present tells whether messages can be seen that were stored together.
func (s *Store) present(all ...*newMessage) func(context.Context) (bool, error) {
	return func(ctx context.Context) (there bool, err error) {
		var ids []string
		for _, m := range all {
			if !m.refused {
				ids = append(ids, m.entry.ID)
			}
		}
		err = s.quick.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM msa_entry WHERE id = ANY($1))", ids).Scan(&there)
		return there, err
	}
}

// store stores one message of any size.
func (m *newMessage) store(ctx context.Context, tx *transaction) error {
	keys, err := storeAll(ctx, tx, []*newMessage{m})
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == "23505":
		return fmt.Errorf("entry %s exists already", m.entry.ID)
	case err != nil:
		return err
	case m.refused:
		before := new(queue.BeforeError)
		if err := tx.QueryRow(ctx, "SELECT id FROM msa_digest WHERE digest = $1", m.once.Digest[:]).Scan(&before.ID); err != nil {
			return err
		}
		return before
	case int64(len(m.first)) == m.octets, m.object != nil:
		return nil
	}
	rest := m.whole()
	if _, err := io.CopyN(io.Discard, rest, chunk); err != nil {
		return err
	}
	for n := 1; int64(n)*chunk < m.octets; n++ {
		data := make([]byte, min(chunk, m.octets-int64(n)*chunk))
		if _, err := io.ReadFull(rest, data); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO msa_body (key, n, data) VALUES ($1, $2, $3)", keys[m.entry.ID], n, data); err != nil {
			return err
		}
	}
	return nil
}

// Parts of the statement that stores messages. Those with a digest are stored if it is theirs: it waits for another node's commit of the same.
const (
	newEntries = `WITH w AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::int[], $5::bigint[], $6::text[], $7::bytea[], $8::text[], $9::smallint[], $10::bigint[], $11::boolean[])
		WITH ORDINALITY AS w(id, entry, status, next, octets, object, body, usr, rank, accepted, held, n)),`
	newDigests = `
	o AS (INSERT INTO msa_digest AS d (digest, id, until) SELECT digest, id, now() + keep * interval '1 microsecond' FROM unnest($26::text[], $27::bytea[], $28::bigint[]) AS w(id, digest, keep) ORDER BY digest
		ON CONFLICT (digest) DO UPDATE SET id = excluded.id, until = excluded.until WHERE d.until <= now() RETURNING id),`
	whereFirst = "WHERE NOT w.id = ANY($26) OR w.id IN (SELECT id FROM o)"
	newRows    = `
	e AS (INSERT INTO msa_entry (id, entry, status, next, octets, object) SELECT id, entry, status, next, octets, object FROM w {where} ORDER BY n RETURNING key, id),
	x AS MATERIALIZED (SELECT e.key, w.n, w.id, w.usr, w.rank, w.accepted, w.held FROM e JOIN w ON w.id = e.id),
	s AS (INSERT INTO msa_sum SELECT count(*), sum(octets) FROM w JOIN e ON w.id = e.id HAVING count(*) > 0),
	b AS (INSERT INTO msa_body (key, n, data) SELECT e.key, 0, w.body FROM e JOIN w ON w.id = e.id WHERE w.body IS NOT NULL),
	j AS (INSERT INTO msa_job (key, number, job) SELECT x.key, j.number, j.job FROM unnest($12::int[], $13::int[], $14::bytea[]) AS j(part, number, job) JOIN x ON x.n = j.part),
	d AS (INSERT INTO msa_due (key, number, id, usr, rank, lane, due, deadline, accepted, held, copied)
		SELECT x.key, j.number, x.id, x.usr, x.rank, j.lane, j.due, j.deadline, x.accepted, x.held, j.copied
		FROM unnest($12::int[], $13::int[], $15::boolean[], $16::text[], $17::bigint[], $18::bigint[], $19::boolean[]) AS j(part, number, pending, lane, due, deadline, copied) JOIN x ON x.n = j.part WHERE j.pending),
	`
)

var (
	storeMessages  = newEntries + strings.Replace(newRows, "{where}", "", 1) + insertFacts("x", 20) + " SELECT id, key FROM e"
	storeDifferent = newEntries + newDigests + strings.Replace(newRows, "{where}", whereFirst, 1) + insertFacts("x", 20) + " SELECT id, key FROM e"
)

// storeAll stores all that there is of messages but what is beyond their first pieces, and says under which keys. Those are refused whose digest is another message's.
func storeAll(ctx context.Context, tx *transaction, all []*newMessage) (keys map[string]int64, err error) {
	r := new(messageRows)
	for i, m := range all {
		r.add(m, i+1)
	}
	keys = make(map[string]int64, len(all))
	b := new(pgx.Batch)
	statement, args := r.statement()
	b.Queue(statement, args...).Query(func(rows pgx.Rows) error {
		var id string
		var key int64
		_, err := pgx.ForEachRow(rows, []any{&id, &key}, func() error { keys[id] = key; return nil })
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	for _, m := range all {
		_, stored := keys[m.entry.ID]
		m.refused = !stored
	}
	return keys, nil
}

// messageRows are messages as arrays that go with one statement.
type messageRows struct {
	ids      []string
	entries  [][]byte
	statuses [][]byte
	nexts    []int32
	octets   []int64
	objects  []*string
	firsts   [][]byte
	users    []string
	ranks    []int16
	accepted []int64
	held     []bool

	parts          []int32 // of which message a job is
	numbers        []int32
	jobs           [][]byte
	pending        []bool
	lanes          []string
	due, deadlines []int64
	copied         []bool

	facts factRows

	different []string // messages with a digest
	digests   [][]byte
	keep      []int64
}

//nolint:gosec // numbers are small
func (r *messageRows) add(m *newMessage, part int) {
	e := m.entry
	r.ids, r.entries, r.statuses, r.nexts = append(r.ids, e.ID), append(r.entries, m.text), append(r.statuses, m.status), append(r.nexts, int32(m.next))
	r.octets, r.objects, r.firsts = append(r.octets, m.octets), append(r.objects, m.object), append(r.firsts, m.first)
	r.users, r.ranks, r.accepted, r.held = append(r.users, e.User), append(r.ranks, int16(-e.Priority)), append(r.accepted, nanos(e.Accepted)), append(r.held, m.held)
	for i, j := range m.jobs {
		r.parts, r.numbers, r.jobs, r.pending = append(r.parts, int32(part)), append(r.numbers, int32(j.Number)), append(r.jobs, m.texts[i]), append(r.pending, j.Pending())
		r.lanes, r.due, r.deadlines, r.copied = append(r.lanes, j.Lane), append(r.due, nanos(j.Due)), append(r.deadlines, deadlineOf(j)), append(r.copied, j.Copy != "")
	}
	r.facts.add(m.facts, part)
	if m.once != nil {
		r.different, r.digests, r.keep = append(r.different, e.ID), append(r.digests, m.once.Digest[:]), append(r.keep, m.once.Keep.Microseconds())
	}
}

func (r *messageRows) statement() (sql string, args []any) {
	args = append([]any{
		r.ids, r.entries, r.statuses, r.nexts, r.octets, r.objects, r.firsts, r.users, r.ranks, r.accepted, r.held,
		r.parts, r.numbers, r.jobs, r.pending, r.lanes, r.due, r.deadlines, r.copied}, r.facts.args()...)
	if len(r.different) == 0 {
		return storeMessages, args
	}
	return storeDifferent, append(args, r.different, r.digests, r.keep)
}
