package spoolpostgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

// poll is how often a node looks although nobody told it to.
const poll = 5 * time.Second

// live proves that this node lives, until the spool is closed. It does nothing else that may have to wait.
func (s *Store) live() {
	every := min(s.lease/3, time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var renewed time.Time
	for {
		select {
		case <-s.ended:
			return
		case <-tick.C:
		}
		if time.Since(renewed) < s.lease/3-every/2 && !s.down.Load() {
			continue
		}
		renewed = time.Now()
		if err := s.renew(); err != nil {
			if !s.down.Load() && !s.closed() {
				s.log.Error("the database is out of reach", zap.Error(err))
			}
			s.down.Store(true)
			continue
		}
		if s.down.Load() {
			s.log.Info("the database is back")
			s.touched()
			s.down.Store(false)
			s.wake()
		}
		select {
		case s.renewals <- struct{}{}:
		default:
		}
	}
}

// lookAfter tidies up after others that do not live, and after this node, until the spool is closed.
func (s *Store) lookAfter() {
	tick := time.NewTicker(min(s.lease/3, time.Second))
	defer tick.Stop()
	var polled time.Time
	for {
		select {
		case <-s.ended:
			return
		case <-s.renewals:
			s.tidy()
			continue
		case <-tick.C:
		}
		s.turns.idle(s)
		if !s.down.Load() {
			s.count(s.life)
		}
		if time.Since(polled) >= poll {
			polled = time.Now()
			s.wake()
		}
	}
}

// touched is when the database is heard again, or another one.
func (s *Store) touched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch = time.Now()
}

// inTouch tells whether it has been heard for a whole lease.
func (s *Store) inTouch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.touch) >= s.lease
}

// renew is the one statement by which all that this node has leased goes on.
func (s *Store) renew() error {
	ctx, cancel := context.WithTimeout(s.life, min(s.timeout, max(s.lease/3, time.Second)))
	defer cancel()
	began := time.Now()
	var server time.Time
	err := s.quick.QueryRow(ctx, "UPDATE msa_node SET until = now() + $2::float8 * interval '1 second' WHERE id = $1 RETURNING pg_postmaster_start_time()",
		s.owner.Load(), s.lease.Seconds()).Scan(&server)
	if err == nil {
		s.hands.renewed(began)
		if !server.Equal(s.server) && !s.server.IsZero() {
			s.touched() // it was away for less than a renewal takes; or is another, with a clock of its own
		}
		s.server = server
		return nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	s.log.Warn("this node was out of touch for so long that others took over what it had in hand")
	s.turns.forget()
	s.hands.loseAll()
	if _, err = s.enrol(ctx); err == nil {
		s.share.reset()
		s.wake()
	}
	return err
}

// tidy gives away what nodes had in hand that are no longer heard of. While the database was away
// none of them could be heard: that counts only once this node has been in touch for a whole lease.
func (s *Store) tidy() {
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	if s.inTouch() {
		var names []string
		var given int64
		err := pgx.BeginFunc(ctx, s.quick, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "DELETE FROM msa_node WHERE id IN (SELECT id FROM msa_node WHERE until < now() FOR UPDATE SKIP LOCKED) RETURNING name")
			if err != nil {
				return err
			}
			if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, `UPDATE msa_due SET owner = NULL, handed = false WHERE (key, number) IN (
				SELECT key, number FROM msa_due d WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM msa_node n WHERE n.id = d.owner) FOR UPDATE SKIP LOCKED)`)
			given = tag.RowsAffected()
			return err
		})
		switch {
		case err != nil:
			s.log.Warn("what others had in hand was not looked after", zap.Error(err))
		case len(names) > 0 || given > 0:
			s.log.Warn("took over from nodes that are no longer heard of", zap.Strings("nodes", names), zap.Int64("jobs", given))
			s.changed()
			s.share.soon()
			_, _ = s.quick.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel(), lanesNews+s.name())
		}
	}
	if time.Since(s.checked) >= recheck {
		s.checked = time.Now()
		s.fromFuture(ctx)
	}
	s.forgetLanes(ctx)
	_, _ = s.quick.Exec(ctx, `WITH me AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1 + 1, hashtext($2)) AS ok),
		d AS (DELETE FROM msa_sum WHERE (SELECT ok FROM me) RETURNING messages, octets)
		INSERT INTO msa_sum SELECT sum(messages), sum(octets) FROM d HAVING count(*) > 0`, int32(migrateLock), s.schema)
	_, _ = s.quick.Exec(ctx, "DELETE FROM msa_digest WHERE until < now()")
	s.tidyCounts(ctx)
	s.takeBack(ctx)
}

// announce tells other nodes of changes, many at once: NOTIFY takes a lock that commits would wait for.
func (s *Store) announce() {
	for {
		select {
		case <-s.ended:
			return
		case <-s.tell:
		}
		ctx, cancel := context.WithTimeout(s.life, s.timeout)
		_, _ = s.quick.Exec(ctx, "SELECT pg_notify($1, $2)", s.channel(), s.name())
		cancel()
		select {
		case <-s.ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// listen hears of other nodes' changes, on a connection that begins with conn.
func (s *Store) listen(c *pgx.ConnConfig, conn *pgx.Conn) {
	for {
		if conn != nil {
			s.hear(conn)
		}
		select {
		case <-s.ended:
			return
		case <-time.After(time.Second):
		}
		conn, _ = s.attend(s.life, c, nil)
	}
}

// attend makes a connection on which others are heard, and which keeps this node's name. On it begin is done first, if there is one.
func (s *Store) attend(ctx context.Context, c *pgx.ConnConfig, begin func(context.Context, *pgx.Conn) error) (*pgx.Conn, error) {
	c = c.Copy()
	c.OnNotice = nil
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	if begin != nil {
		err = begin(ctx, conn)
	}
	if err == nil {
		_, err = conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel()}.Sanitize())
	}
	if err == nil {
		err = s.keepName(ctx, conn)
	}
	if err != nil {
		s.dismiss(conn)
		return nil, err
	}
	return conn, nil
}

func (s *Store) dismiss(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func (s *Store) hear(conn *pgx.Conn) {
	defer s.dismiss(conn)
	s.wake() // of what was said before
	s.share.soon()
	for {
		n, err := conn.WaitForNotification(s.life)
		if err != nil {
			return
		}
		switch n.Payload {
		case s.name(), lanesNews + s.name():
		default:
			if isLanesNews(n.Payload) {
				s.share.soon()
			} else {
				s.wake()
			}
		}
	}
}

// idle gives back what was claimed for a caller who no longer comes for it.
func (t *turns) idle(s *Store) {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if len(t.claimed) > 0 && time.Since(t.asked) > time.Second {
		t.flush(s.life, s)
	}
}

// flush gives back what was claimed and not handed out.
func (t *turns) flush(ctx context.Context, s *Store) error {
	if len(t.claimed) == 0 {
		return nil
	}
	keys, numbers, tokens := columns(t.claimed)
	err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		_, err := db.Exec(ctx, `UPDATE msa_due d SET owner = NULL, handed = false FROM unnest($2::bigint[], $3::int[], $4::bigint[]) AS w(key, number, token)
			WHERE d.key = w.key AND d.number = w.number AND d.token = w.token AND d.owner IS NOT DISTINCT FROM $1`, s.owner.Load(), keys, numbers, tokens)
		return err
	})
	if err == nil {
		t.claimed = t.claimed[:0]
		s.changedElsewhere()
	}
	return err
}

func (s *Store) changedElsewhere() {
	select {
	case s.tell <- struct{}{}:
	default:
	}
}
