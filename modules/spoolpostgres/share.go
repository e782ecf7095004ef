package spoolpostgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	// shareEvery is how often a node looks what others say of lanes although nobody told it to, and shareSoon
	// while somebody waits for it.
	shareEvery, shareSoon = time.Second, 100 * time.Millisecond
	// readAll is how often it reads all conditions, since what was committed out of turn is missed in between.
	readAll = 15 * time.Second
	// lanesNews begins a notification that is about lanes.
	lanesNews = "lanes "
)

// share is this node's part in dividing lanes among the nodes that deliver, and what it tells and hears of them.
// A node that begins to deliver is counted by others as soon as they know of it; it has no part itself before they
// all have said so (msa_node.seen), and none of the lanes of which they have too much in hand (over).
type share struct {
	signal chan struct{}

	mu       sync.Mutex
	wanted   bool  // a queue delivers here
	part     int64 // this node's number among those that deliver; 0: none yet
	members  []member
	settled  bool            // the others have all left what is this node's
	returned int64           // the latest node that HearLanes told of
	heeded   int64           // and since then this node takes less
	over     map[string]bool // lanes of which it has more in hand than that
	moved    bool

	told     map[string]queue.LaneCondition // to be written
	heard    map[string]queue.LaneCondition // to be returned
	versions map[string]int64               // of the conditions that are known, those of lanes that are up excepted
	latest   int64
	all      time.Time // when all were read
}

// member is a node that delivers.
type member struct {
	id, part, seen int64
	name           string
	over           []string
}

func (h *share) init() {
	h.signal = make(chan struct{}, 1)
	h.told, h.heard, h.versions = make(map[string]queue.LaneCondition), make(map[string]queue.LaneCondition), make(map[string]int64)
}

func (h *share) soon() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// reset is when this node was taken for dead: it joins again.
func (h *share) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.part, h.members, h.settled, h.returned, h.heeded, h.over, h.moved = 0, nil, false, 0, 0, nil, true
	h.soon()
}

// Place implements queue.LaneSharer.
func (s *Store) Place(lane string) (place, nodes int) {
	h := &s.share
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.part == 0 {
		return 0, 0
	}
	var names []string
	mine := ""
	for _, m := range h.members {
		name := m.name
		if slices.Contains(names, name) { // such as a node's that was started again
			name = fmt.Sprint(name, " ", m.part)
		}
		names = append(names, name)
		switch {
		case m.part == h.part:
			mine = name
		case !h.settled && (m.seen < h.part || slices.Contains(m.over, lane)):
			return 0, 0
		}
	}
	if mine == "" {
		return 0, 0
	}
	return queue.PlaceOf(lane, mine, names), len(names)
}

// TellLane implements queue.LaneSharer.
func (s *Store) TellLane(c queue.LaneCondition) {
	h := &s.share
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told[c.Lane] = c
	delete(h.heard, c.Lane)
	h.soon()
}

// HearLanes implements queue.LaneSharer.
func (s *Store) HearLanes() (all []queue.LaneCondition, moved bool) {
	h := &s.share
	s.heed()
	h.mu.Lock()
	defer h.mu.Unlock()
	if wants := s.delivers(); h.wanted != wants {
		h.wanted = wants
		h.soon()
	}
	for lane, c := range h.heard {
		all = append(all, c)
		delete(h.heard, lane)
	}
	moved, h.moved = h.moved, false
	for _, m := range h.members {
		h.returned = max(h.returned, m.part)
	}
	return all, moved
}

// heed is when the queue takes no more than what HearLanes told it.
func (s *Store) heed() {
	h := &s.share
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heeded == h.returned {
		return
	}
	h.heeded, h.over = h.returned, make(map[string]bool)
	for _, lane := range s.hands.lanes() {
		if s.tooMuch(lane) {
			h.over[lane] = true
		}
	}
	h.soon()
}

// tooMuch tells whether more of a lane is leased than is taken.
func (s *Store) tooMuch(lane string) bool {
	l := s.turns.lane(lane)
	return l.Limit >= 0 && s.hands.in(lane) > l.Limit
}

// shareLanes keeps up with the others until the spool is closed.
func (s *Store) shareLanes() {
	h := &s.share
	for {
		h.mu.Lock()
		wait := shareEvery
		if len(h.over) > 0 || h.part != 0 && !h.settled {
			wait = shareSoon
		}
		h.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-s.ended:
			timer.Stop()
			return
		case <-timer.C:
		case <-h.signal:
			timer.Stop()
		}
		if err := s.syncLanes(); err != nil {
			s.log.Debug("lanes are not shared at the moment", zap.Error(err))
		}
		select { // many changes at once
		case <-s.ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// syncLanes writes what this node has to say, and reads what others say.
func (s *Store) syncLanes() error {
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	h := &s.share
	h.mu.Lock()
	join, leave := h.wanted && h.part == 0, !h.wanted && h.part != 0
	h.mu.Unlock()
	wrote := false
	switch {
	case join:
		if err := s.join(ctx); err != nil {
			return err
		}
		wrote = true
	case leave && len(s.hands.lanes()) == 0:
		if _, err := s.pool.Exec(ctx, "UPDATE msa_node SET part = NULL WHERE id = $1", s.owner.Load()); err != nil {
			return err
		}
		h.reset()
		wrote = true
	}
	acked, err := s.acknowledge(ctx)
	if err != nil {
		return err
	}
	told, err := s.writeConditions(ctx)
	if err != nil {
		return err
	}
	if wrote || acked || told {
		if _, err := s.quick.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel(), lanesNews+s.name()); err != nil {
			return err
		}
	}
	if err := s.readMembers(ctx); err != nil {
		return err
	}
	return s.readConditions(ctx)
}

// join gives this node a number among those that deliver. Numbers are committed in their order.
func (s *Store) join(ctx context.Context) error {
	var part int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1 + 2, hashtext($2))", int32(migrateLock), s.schema); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "UPDATE msa_node SET part = nextval('msa_part') WHERE id = $1 RETURNING part", s.owner.Load()).Scan(&part)
	})
	if errors.Is(err, pgx.ErrNoRows) { // it is enrolled again in a moment
		return nil
	}
	if err != nil {
		return err
	}
	s.share.mu.Lock()
	s.share.part = part
	s.share.mu.Unlock()
	return nil
}

// acknowledge tells the others of whom this node knows, and in which lanes it has too much in hand.
func (s *Store) acknowledge(ctx context.Context) (wrote bool, err error) {
	h := &s.share
	h.mu.Lock()
	over := []string{}
	for lane := range h.over {
		if s.tooMuch(lane) {
			over = append(over, lane)
		} else {
			delete(h.over, lane)
		}
	}
	slices.Sort(over)
	heeded := h.heeded
	same := h.part == 0 || heeded == 0
	for _, m := range h.members {
		if m.part == h.part {
			same = m.seen == heeded && slices.Equal(m.over, over)
		}
	}
	h.mu.Unlock()
	if same {
		return false, nil
	}
	_, err = s.quick.Exec(ctx, "UPDATE msa_node SET seen = $2, over = $3 WHERE id = $1", s.owner.Load(), heeded, over)
	return err == nil, err
}

// readMembers reads which nodes deliver.
func (s *Store) readMembers(ctx context.Context) error {
	rows, err := s.quick.Query(ctx, "SELECT id, name, part, seen, over FROM msa_node WHERE part IS NOT NULL ORDER BY part")
	if err != nil {
		return err
	}
	members, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m member, err error) {
		err = row.Scan(&m.id, &m.name, &m.part, &m.seen, &m.over)
		return m, err
	})
	if err != nil {
		return err
	}
	h := &s.share
	h.mu.Lock()
	defer h.mu.Unlock()
	settled := h.part != 0
	for _, m := range members {
		if m.part != h.part && (m.seen < h.part || len(m.over) > 0) {
			settled = false
		}
	}
	same := slices.EqualFunc(members, h.members, func(a, b member) bool {
		return a.part == b.part && (h.settled || a.seen == b.seen && slices.Equal(a.over, b.over))
	})
	h.members = members
	h.settled = h.settled || settled
	if !same {
		h.moved = true
		s.wake()
	}
	return nil
}

// writeConditions writes what this node was told of lanes.
func (s *Store) writeConditions(ctx context.Context) (wrote bool, err error) {
	h := &s.share
	h.mu.Lock()
	told := h.told
	h.told = make(map[string]queue.LaneCondition)
	h.mu.Unlock()
	if len(told) == 0 {
		return false, nil
	}
	var names []string
	var ups []bool
	var texts [][]byte
	for lane, c := range told {
		text, err := json.Marshal(c)
		if err != nil {
			return false, err
		}
		names, ups, texts = append(names, lane), append(ups, isUp(c)), append(texts, text)
	}
	rows, err := s.quick.Query(ctx, `INSERT INTO msa_lane (lane, writer, version, up, condition, changed)
		SELECT lane, $1, nextval('msa_change'), up, condition, now() FROM unnest($2::text[], $3::boolean[], $4::bytea[]) AS w(lane, up, condition) ORDER BY lane COLLATE "C"
		ON CONFLICT (lane) DO UPDATE SET writer = excluded.writer, version = excluded.version, up = excluded.up, condition = excluded.condition, changed = excluded.changed
		RETURNING lane, version`, s.owner.Load(), names, ups, texts)
	written := make(map[string]int64)
	if err == nil {
		var lane string
		var version int64
		_, err = pgx.ForEachRow(rows, []any{&lane, &version}, func() error { written[lane] = version; return nil })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for lane, c := range told {
		switch _, newer := h.told[lane]; {
		case err != nil && !newer:
			h.told[lane] = c
		case err == nil:
			h.know(lane, written[lane], isUp(c))
		}
	}
	return err == nil, err
}

func isUp(c queue.LaneCondition) bool { return c.Failures == 0 && c.Paused == "" }

// know notes which condition of a lane is known.
func (h *share) know(lane string, version int64, up bool) {
	if up {
		delete(h.versions, lane)
	} else {
		h.versions[lane] = version
	}
}

// readConditions reads what others have told of lanes since it was last read, or now and then all. What is not
// there any more is up.
func (s *Store) readConditions(ctx context.Context) error {
	h := &s.share
	h.mu.Lock()
	after := h.latest
	h.mu.Unlock()
	all := time.Since(h.all) >= readAll
	if all {
		after = 0
	}
	rows, err := s.quick.Query(ctx, "SELECT lane, writer, version, up, condition FROM msa_lane WHERE version > $1 ORDER BY version", after)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := len(h.heard)
	there := make(map[string]bool)
	var lane string
	var writer, version int64
	var up bool
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&lane, &writer, &version, &up, &text}, func() error {
		there[lane] = true
		h.latest = max(h.latest, version)
		_, mine := h.told[lane]
		if known := h.versions[lane]; mine || writer == s.owner.Load() || known >= version || up && known == 0 {
			return nil
		}
		c := queue.LaneCondition{}
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("lane %s: %w", lane, err)
		}
		h.heard[lane] = c
		h.know(lane, version, up)
		return nil
	})
	if err != nil {
		return err
	}
	if all {
		h.all = time.Now()
		for lane := range h.versions {
			if _, mine := h.told[lane]; !mine && !there[lane] {
				h.heard[lane] = queue.LaneCondition{Lane: lane}
				delete(h.versions, lane)
			}
		}
	}
	if len(h.heard) != before {
		s.wake()
	}
	return nil
}

// forgetLanes deletes what says no more than that a lane is up.
func (s *Store) forgetLanes(ctx context.Context) {
	_, _ = s.quick.Exec(ctx, "DELETE FROM msa_lane WHERE up AND changed < now() - interval '10 minutes'")
}

// isLanesNews tells whether a notification of another node's is about lanes.
func isLanesNews(payload string) bool { return strings.HasPrefix(payload, lanesNews) }

// Interface guard
var _ queue.LaneSharer = (*Store)(nil)
