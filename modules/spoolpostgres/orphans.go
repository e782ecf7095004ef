package spoolpostgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

const (
	// orphanAge is how old an object is that belongs to no message and is removed: what is being accepted is younger.
	orphanAge = 24 * time.Hour
	// orphanEvery is how often nodes look for them, one at a time.
	orphanEvery = time.Hour
	objectBatch = 100
	// removeFor is how long a transaction removes objects, and how long one may take.
	removeFor = 20 * time.Second
)

// tidyObjects removes the objects of messages that are gone, until the spool is closed, and orphans now and then.
func (s *Store) tidyObjects() {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var looked time.Time
	for {
		select {
		case <-s.ended:
			return
		case <-s.gone:
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.life, time.Hour)
		err := s.removeGone(ctx)
		if err == nil && time.Since(looked) >= orphanEvery {
			looked = time.Now()
			_, err = s.removeOrphans(ctx, looked.Add(-orphanAge))
		}
		cancel()
		if err != nil && !s.closed() {
			s.log.Warn("objects of messages that are gone were not all removed; that is tried again", zap.Error(err))
			select {
			case <-s.ended:
			case <-time.After(time.Minute):
			}
		}
	}
}

// objectsGone has tidyObjects look: a message may be gone.
func (s *Store) objectsGone() {
	select {
	case s.gone <- struct{}{}:
	default:
	}
}

// removeGone removes objects whose messages are gone for good, on the standby too. Where the bucket takes its time each transaction is about some of
// them: one that idles for long would be ended, and all of it be done again.
func (s *Store) removeGone(ctx context.Context) error {
	for {
		n, whole := 0, true
		var failed error
		err := pgx.BeginFunc(ctx, s.quick, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT object FROM msa_gone LIMIT $1 FOR UPDATE SKIP LOCKED", objectBatch)
			if err != nil {
				return err
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if len(names) > 0 && !s.replicated(ctx) {
				return errUncertain
			}
			began := time.Now()
			for _, name := range names {
				if failed = s.removeObject(ctx, name); failed != nil {
					break
				}
				n++
				if whole = time.Since(began) < removeFor; !whole {
					break
				}
			}
			_, err = tx.Exec(ctx, "DELETE FROM msa_gone WHERE object = ANY($1)", names[:n])
			return err
		})
		if err = errors.Join(err, failed); err != nil || whole && n < objectBatch {
			return err
		}
	}
}

func (s *Store) removeObject(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeFor)
	defer cancel()
	return s.bodies.Remove(ctx, name)
}

// removeOrphans removes objects from before a time that belong to no message, such as those of a node that died
// between the upload and the end of its transaction. It has a connection of its own, which keeps others from doing the same: a large bucket takes long.
func (s *Store) removeOrphans(ctx context.Context, before time.Time) (removed int, err error) {
	conn, err := pgx.ConnectConfig(ctx, s.quick.Config().ConnConfig)
	if err != nil {
		return 0, err
	}
	defer s.dismiss(conn)
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1 + 3, hashtext($2))", int32(migrateLock), s.schema).Scan(&mine); err != nil || !mine {
		return 0, err
	}
	var old []string
	sweep := func() error {
		rows, err := conn.Query(ctx, `SELECT o FROM unnest($1::text[]) AS o WHERE NOT EXISTS (SELECT 1 FROM msa_entry WHERE object = o)
			AND NOT EXISTS (SELECT 1 FROM msa_gone WHERE object = o)`, old)
		if err != nil {
			return err
		}
		orphans, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, name := range orphans {
			if err := s.removeObject(ctx, name); err != nil {
				return err
			}
			removed++
		}
		old = old[:0]
		return nil
	}
	err = s.bodies.Each(ctx, s.cluster+"/", func(name string, modified time.Time) error {
		if !modified.Before(before) {
			return nil
		}
		if old = append(old, name); len(old) < objectBatch {
			return nil
		}
		return sweep()
	})
	if err == nil && len(old) > 0 {
		err = sweep()
	}
	if removed > 0 {
		s.log.Info("removed objects that belong to no message", zap.Int("objects", removed))
	}
	return removed, err
}
