package spoolfile

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// migrateBatch is how many old entries are rewritten in one commit.
const migrateBatch = 200

// isOld tells whether a record is of a version before this program's.
func isOld(b []byte) bool { return len(b) > 0 && (b[0] == recordFirst || b[0] == recordSecond) }

// oldHeader is where the JSON of an old record begins, by its version.
var oldHeader = map[byte]int{recordFirst: 26, recordSecond: 35}

// migrate turns entries of earlier versions into envelopes, jobs and statuses.
func (s *Store) migrate(eng *engine, ids []string, now int64) error {
	for batch := range slices.Chunk(ids, migrateBatch) {
		var writes []edit
		for _, id := range batch {
			value, err := eng.get(envelopeKey(id))
			if err != nil {
				return err
			}
			e := &entry{id: id}
			more, err := s.migrateOne(e, value, now)
			if err != nil {
				s.spoil(e, err)
			}
			writes = append(writes, more...)
			s.schedule.reserve(e)
		}
		if err := eng.commit(&change{writes: writes}); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		s.log.Info("the spool of an earlier version was taken over", zap.Int("messages", len(ids)))
	}
	return nil
}

// oldEntry is an entry as the versions before knew it.
type oldEntry struct {
	queue.Entry
	Recipients []oldRecipient `json:"recipients"`
	Next       time.Time      `json:"next"`
	Attempts   int            `json:"attempts"`
	Held       string         `json:"held"`
	Since      time.Time      `json:"since"`
	Dead       time.Time      `json:"dead"`
	GivenUp    string         `json:"given_up"`
	History    []oldEvent     `json:"history"`
}

type oldRecipient struct {
	queue.Recipient
	Next     time.Time `json:"next"`
	Attempts int       `json:"attempts"`
	Warned   bool      `json:"warned"`
}

type oldEvent struct {
	Time       time.Time `json:"time"`
	What       string    `json:"what"`
	Route      string    `json:"route"`
	RemoteMTA  string    `json:"remote_mta"`
	Text       string    `json:"text"`
	ID         string    `json:"id"`
	Recipients []string  `json:"recipients"`
}

// migrateOne returns what is to be stored of an old entry.
func (s *Store) migrateOne(e *entry, value []byte, now int64) ([]edit, error) {
	n := oldHeader[value[0]]
	if len(value) < n {
		return nil, errRecord
	}
	old := new(oldEntry)
	if err := json.Unmarshal(value[n:], old); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	e.file, e.size = binary.BigEndian.Uint64(value[10:]), int64(binary.BigEndian.Uint64(value[18:]))
	q, jobs, status := old.split()
	e.describe(q)
	envelope, err := e.encode(q, jobs, nil)
	if err != nil {
		return nil, err
	}
	v, err := decodeEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	s.revive(e, v, now)
	writes := []edit{set(envelopeKey(e.id), envelope)}
	for i := range jobs {
		b, err := encodeJob(&jobs[i], timeOf(now))
		if err != nil {
			return nil, err
		}
		writes = append(writes, set(jobKey(e.id, jobs[i].Number), b))
	}
	b, err := encodeStatus(status)
	if err == nil && b != nil {
		writes = append(writes, set(statusKey(e.id), b))
	}
	return writes, err
}

// split makes envelope, jobs and status of an old entry. What is pending and due together is a job.
func (old *oldEntry) split() (*queue.Entry, []queue.Job, *queue.Status) {
	e := old.Entry
	e.Recipients = nil
	places := make(map[string]int, len(old.Recipients))
	for i := range old.Recipients {
		r := old.Recipients[i].Recipient
		r.Fate = queue.Fate{}
		e.Recipients = append(e.Recipients, r)
		places[r.Address] = i
	}
	status := &queue.Status{Held: old.Held, GivenUp: old.GivenUp, Since: old.Since, Dead: old.Dead}
	if old.GivenUp != "" {
		status.GivenUpAt = old.Accepted
	}
	for _, v := range old.History {
		to := make(queue.Indexes, 0, len(v.Recipients))
		for _, a := range v.Recipients {
			if i, ok := places[a]; ok {
				to = append(to, i)
			}
		}
		slices.Sort(to)
		status.History = append(status.History, queue.Event{Time: v.Time, What: v.What, Route: v.Route, RemoteMTA: v.RemoteMTA, Text: v.Text,
			Notification: v.ID, To: slices.Compact(to)})
	}
	var jobs []queue.Job
	for i := range old.Recipients {
		o := &old.Recipients[i]
		r := o.Recipient
		r.Index = i
		due := o.Next
		if due.IsZero() {
			due = old.Next
		}
		at := slices.IndexFunc(jobs, func(j queue.Job) bool { return j.Due.Equal(due) && j.Warned == o.Warned })
		if r.State != queue.Pending && len(jobs) > 0 {
			at = 0
		}
		if at < 0 {
			at = len(jobs)
			jobs = append(jobs, queue.Job{Number: at + 1, Due: due, Warned: o.Warned})
			if old.GivenUp != "" {
				jobs[at].Deadline = old.Accepted
			}
		}
		j := &jobs[at]
		j.Attempts = max(j.Attempts, o.Attempts)
		j.Recipients = append(j.Recipients, r)
	}
	return &e, jobs, status
}
