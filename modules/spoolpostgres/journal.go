package spoolpostgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// facts is this node's part in the journal.
type facts struct {
	limits  atomic.Pointer[journal.Limits] // nil: nobody said
	notes   journal.Notes
	unsaid  []journal.Fact // notes that the database has not taken yet
	kick    chan struct{}  // there is something for keepJournal to do
	horizon horizon
	claims  claims
}

func (f *facts) init() {
	f.kick = make(chan struct{}, 1)
	f.claims.init()
}

func (s *Store) kickJournal() {
	select {
	case s.facts.kick <- struct{}{}:
	default:
	}
}

func (s *Store) journalOff() bool {
	l := s.facts.limits.Load()
	return l != nil && l.Off
}

// insertFacts writes facts, whose parameters (factRows.args) begin with that number: CTEs f and k of a statement. They are of what from
// has, by its number n; empty: all are. Positions are given in their order, and while the entry is locked that they tell of.
func insertFacts(from string, first int) string {
	of := ""
	if from != "" {
		of = from + " o JOIN "
	}
	facts := fmt.Sprintf("unnest($%d::int[], $%d::bigint[], $%d::text[], $%d::text[], $%d::int[], $%d::text[]) WITH ORDINALITY AS w(part, time, what, keys, octets, fact, n)",
		first, first+1, first+2, first+3, first+4, first+5)
	if of != "" {
		facts += " ON w.part = o.n"
	}
	return `f AS (INSERT INTO msa_fact (time, what, keys, octets, fact)
		SELECT w.time, w.what, w.keys::bigint[], w.octets, w.fact FROM ` + of + facts + ` ORDER BY w.n RETURNING pos, keys),
	k AS (INSERT INTO msa_fact_key (key, pos) SELECT unnest(keys), pos FROM f)`
}

var addFacts = "WITH " + insertFacts("", 1) + " SELECT 1"

// factRows are facts as arrays that go with one statement.
type factRows struct {
	parts  []int32 // of what they are
	times  []int64
	whats  []string
	keys   []string // each an array
	octets []int32
	texts  []string
}

// What a fact takes beside its text: its row, and for each key a row of msa_fact_key with its place in the index.
const (
	factRow = 100
	keyRow  = 100
)

// rows are the facts that are to be kept.
func (s *Store) rows(all []journal.Fact) (*factRows, error) {
	r := new(factRows)
	if s.journalOff() {
		return r, nil
	}
	for i := range all {
		f := &all[i]
		text, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		keys := hashes(f)
		r.parts = append(r.parts, 1)
		r.times, r.whats, r.texts = append(r.times, nanos(f.Time)), append(r.whats, string(f.What)), append(r.texts, string(text))
		r.keys = append(r.keys, array(keys))
		r.octets = append(r.octets, int32(len(text)+factRow+keyRow*len(keys))) //nolint:gosec // a message is smaller by far
	}
	return r, nil
}

// add takes over facts as those of a part.
func (r *factRows) add(f *factRows, part int) {
	for range f.times {
		r.parts = append(r.parts, int32(part)) //nolint:gosec // there are few
	}
	r.times, r.whats, r.texts = append(r.times, f.times...), append(r.whats, f.whats...), append(r.texts, f.texts...)
	r.keys, r.octets = append(r.keys, f.keys...), append(r.octets, f.octets...)
}

func (r *factRows) args() []any { return []any{r.parts, r.times, r.whats, r.keys, r.octets, r.texts} }

// atCommit has them written at the end of the transaction.
func (r *factRows) atCommit(tx *transaction) {
	if len(r.times) > 0 {
		tx.atCommit(addFacts, r.args()...)
	}
}

// hash is what finds a name.
func hash(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // all bits of it
}

// hashes are the keys of a fact, each once.
func hashes(f *journal.Fact) []int64 {
	names := f.Keys()
	keys := make([]int64, len(names))
	for i, name := range names {
		keys[i] = hash(name)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func array(keys []int64) string {
	b := make([]byte, 0, 2+21*len(keys))
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, key, 10)
	}
	return string(append(b, '}'))
}

func position(at int64) journal.Position {
	return journal.Position(strconv.FormatInt(at, 10))
}

func placeIn(p journal.Position) (at int64, err error) {
	if p == "" {
		return 0, nil
	}
	if at, err = strconv.ParseInt(string(p), 10, 64); err != nil || at < 0 {
		return 0, fmt.Errorf("%q is not a place in this journal", p)
	}
	return at, nil
}

func readFact(at int64, text string) (*journal.Fact, error) {
	f := new(journal.Fact)
	if err := json.Unmarshal([]byte(text), f); err != nil {
		return nil, fmt.Errorf("fact %d: %w", at, err)
	}
	f.Position = position(at)
	return f, nil
}

// Windows of facts that a query looks at in one statement.
const (
	smallWindow = 128
	largeWindow = 8192
)

// disorder is how much older a fact may be than one before it, by another node's clock. Facts that were noted while the database was away may be
// older still, but they are fewer than a large window.
const disorder = 24 * time.Hour

// Facts implements journal.Reader: it goes over the facts of one key, or all, in windows.
func (s *Store) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	before, err := placeIn(q.Before)
	if err != nil {
		return err
	}
	if before == 0 {
		before = never
	}
	from, args := "SELECT * FROM msa_fact WHERE pos < $1 ORDER BY pos DESC LIMIT $2", []any{before, smallWindow, nanos(q.Since), int64(never), len(q.What) == 0, kinds(q.What), plain(strings.ToLower(q.Text)), plain(q.HopID)}
	if !q.Until.IsZero() {
		args[3] = nanos(q.Until)
	}
	if keys := q.Keys(); len(keys) > 0 {
		from = "SELECT f.* FROM (SELECT pos FROM msa_fact_key WHERE key = $9 AND pos < $1 ORDER BY pos DESC LIMIT $2) k JOIN msa_fact f ON f.pos = k.pos"
		args = append(args, hash(keys[0]))
	}
	statement := "WITH w AS MATERIALIZED (" + from + `) SELECT pos, fact, time FROM w WHERE time >= $3 AND time < $4 AND ($5 OR what = ANY($6))
		AND strpos(lower(fact), $7) > 0 AND strpos(fact, $8) > 0
		UNION ALL SELECT min(pos), NULL, max(time) FROM w ORDER BY 1 DESC, 2`
	for {
		var found []*journal.Fact
		var first, latest *int64 // of the window
		err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
			found, first = nil, nil
			rows, err := db.Query(ctx, statement, args...)
			if err != nil {
				return err
			}
			var at, when *int64
			var text *string
			_, err = pgx.ForEachRow(rows, []any{&at, &text, &when}, func() error {
				if text == nil {
					first, latest = at, when
					return nil
				}
				f, err := readFact(*at, *text)
				if err == nil && q.Match(f) {
					found = append(found, f)
				}
				return err
			})
			return err
		})
		if err != nil {
			return err
		}
		for _, f := range found {
			if !yield(f) {
				return nil
			}
		}
		if first == nil || args[1] == largeWindow && !q.Since.IsZero() && *latest < nanos(q.Since.Add(-disorder)) {
			return nil
		}
		args[0], args[1] = *first, min(args[1].(int)*2, largeWindow)
	}
}

// plain is text that JSON has as it is, so that the database can leave out what does not have it; Match decides.
func plain(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		return ""
	}
	return text
}

func kinds(what []journal.Kind) []string {
	all := make([]string, len(what))
	for i, w := range what {
		all[i] = string(w)
	}
	return all
}

// horizon is how far the journal is sure: nothing is ever added up to there. Positions are given before their
// transactions commit, in whatever order. Who writes a fact has the table locked, as any writer has, from before it gets
// its position until it has ended: once all that wrote when a position was the latest have ended, all up to it is sure.
// A transaction of somebody else's, however long, is none of our business.
type horizon struct {
	mu      sync.Mutex
	sure    int64
	mark    int64    // sure when the writers have ended
	writers []string // virtual transactions
}

const (
	latestFact  = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM msa_fact_pos_seq"
	factWriters = `SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND relation = 'msa_fact'::regclass AND mode = 'RowExclusiveLock' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
)

// beyond is look, a moment later where nothing after a position is sure and something is being written: who writes now is about to end.
func (h *horizon) beyond(ctx context.Context, db db, from int64) (sure int64, err error) {
	for range 10 {
		var latest int64
		if sure, latest, err = h.look(ctx, db); err != nil || sure > from || sure == latest {
			break
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return sure, err
}

// look finds out how far the journal is sure, and the latest position that was given.
func (h *horizon) look(ctx context.Context, db db) (sure, latest int64, err error) {
	var writers []string
	b := new(pgx.Batch)
	b.Queue(latestFact).QueryRow(func(row pgx.Row) error { return row.Scan(&latest) })
	b.Queue(factWriters).Query(func(rows pgx.Rows) (err error) { // after the first, so that it has whoever got a position up to then
		writers, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err := db.SendBatch(ctx, b).Close(); err != nil {
		return 0, 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mark > 0 && !slices.ContainsFunc(h.writers, func(w string) bool { return slices.Contains(writers, w) }) {
		h.sure, h.mark = max(h.sure, h.mark), 0
	}
	if len(writers) == 0 {
		h.sure = max(h.sure, latest)
	}
	if h.mark == 0 && latest > h.sure {
		h.mark, h.writers = latest, writers
	}
	return h.sure, latest, nil
}

// Follow implements journal.Reader.
func (s *Store) Follow(ctx context.Context, after journal.Position, limit int) (facts []journal.Fact, err error) {
	from, err := placeIn(after)
	if err != nil {
		return nil, err
	}
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		facts = nil
		sure, err := s.facts.horizon.beyond(ctx, db, from)
		if err != nil || sure <= from {
			return err
		}
		rows, err := db.Query(ctx, "SELECT pos, fact FROM msa_fact WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3", from, sure, limit)
		if err != nil {
			return err
		}
		var at int64
		var text string
		_, err = pgx.ForEachRow(rows, []any{&at, &text}, func() error {
			f, err := readFact(at, text)
			if err == nil {
				facts = append(facts, *f)
			}
			return err
		})
		return err
	})
	return facts, err
}

// renumber has positions begin far above all that there were, when the server is another than it was: what was committed
// last may not have come with it, and a follower's place may be after its end. It is asked for each connection before anything is written by it.
func (s *Store) renumber(ctx context.Context, conn *pgx.Conn) error {
	var server string
	var known bool
	err := conn.QueryRow(ctx, `SELECT (SELECT system_identifier::text FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || oid::text
		FROM pg_database WHERE datname = current_database() AND NOT pg_is_in_recovery()`).Scan(&server)
	if err != nil {
		return nil //nolint:nilerr // a standby, or a service that does not say: what it lost has the same numbers then
	}
	if err := conn.QueryRow(ctx, "SELECT server = $1 FROM msa_journal", server).Scan(&known); err != nil || known {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var before string
		if err := tx.QueryRow(ctx, "SELECT server FROM msa_journal FOR UPDATE").Scan(&before); err != nil || before == server {
			return err
		}
		if before != "" {
			if _, err := tx.Exec(ctx, "SELECT setval('msa_fact_pos_seq', last_value + (1::bigint << 32)) FROM msa_fact_pos_seq"); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "UPDATE msa_journal SET server = $1", server)
		return err
	})
}

// Interface guards
var (
	_ journal.Journal = (*Store)(nil)
	_ journal.Claimer = (*Store)(nil)

	_ journal.CursorLister = (*Store)(nil)
)
