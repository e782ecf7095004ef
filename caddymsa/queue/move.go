package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Place is a spool with its name, which is the same whenever it is opened.
type Place struct {
	Name  string
	Spool Spool
}

// Mover is told of each message by Move; an error says that it stays where it was, and why. Calls do not overlap.
type Mover func(id string, err error)

// moveAtOnce is how many messages are moved side by side, so that they share their syncs.
const moveAtOnce = 16

// moveWait is how often it is looked whether an attempt has ended.
const moveWait = 100 * time.Millisecond

// Move takes every message of one spool to another, with all that is known of it, while both may be in
// use by others. It may be broken off at any moment, by a crash too, and called again with the same
// places: nothing is lost, and nothing delivered twice.
//
// A message is held in the old spool, copied held, deleted in the old one, and only then released in the new
// one: there is no moment at which both may deliver it. One that is being delivered is moved when the attempt has ended.
func Move(ctx context.Context, from, to Place, told Mover) error {
	if err := different(from, to); err != nil {
		return err
	}
	opener, ok := from.Spool.(MessageOpener)
	if !ok {
		return fmt.Errorf("spool %s cannot show its messages", from.Name)
	}
	m := &move{from: from, to: to, opener: opener, told: told}
	if err := m.resume(ctx); err != nil {
		return err
	}
	after := ""
	for {
		ids, err := page(ctx, from.Spool, after)
		if err != nil {
			return fmt.Errorf("spool %s: %w", from.Name, err)
		}
		if len(ids) == 0 {
			break
		}
		if err := m.all(ctx, ids); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
	for len(m.busy) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(moveWait):
		}
		again := m.busy
		m.busy = nil
		if err := m.all(ctx, again); err != nil {
			return err
		}
	}
	return nil
}

// CancelMove ends a Move that was broken off, and has each message stay in the spool where it is now whole.
func CancelMove(ctx context.Context, from, to Place, told Mover) error {
	if err := different(from, to); err != nil {
		return err
	}
	for after := ""; ; {
		moving, last, err := marked(ctx, from.Spool, after, from.Name)
		if err != nil {
			return fmt.Errorf("spool %s: %w", from.Name, err)
		}
		for _, id := range moving {
			if _, err := to.Spool.Delete(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("spool %s: %w", to.Name, err)
			}
			if err := settle(ctx, from.Spool, id); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("spool %s: %w", from.Name, err)
			}
			told(id, nil)
		}
		if last == "" {
			break
		}
		after = last
	}
	return (&move{from: from, to: to, told: func(string, error) {}}).resume(ctx)
}

// different refuses two names of one spool: each message would be deleted where it had just been put.
func different(from, to Place) error {
	one, ok := from.Spool.(Identifier)
	two, both := to.Spool.(Identifier)
	switch {
	case from.Name == to.Name:
		return errors.New("both spools are the same")
	case ok && both && one.Identity() == two.Identity():
		return fmt.Errorf("the spools %s and %s are the same, or one is a copy of the other", from.Name, to.Name)
	}
	return nil
}

type move struct {
	from, to Place
	opener   MessageOpener
	mu       sync.Mutex // of what follows
	told     Mover
	busy     []string // they have an attempt under way
}

// all moves messages side by side.
func (m *move) all(ctx context.Context, ids []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(moveAtOnce)
	for _, id := range ids {
		g.Go(func() (err error) {
			defer func() {
				if cause := recover(); cause != nil { // a spool's: in a goroutine of its own it would end the process
					err = fmt.Errorf("%w: %v, in %s", errPanic, cause, panicAt())
				}
			}()
			return m.one(ctx, id)
		})
	}
	return g.Wait()
}

// movePage is how many messages are looked at at once.
const movePage = 500

func page(ctx context.Context, s Spool, after string) (ids []string, err error) {
	err = s.List(ctx, after, func(v *EntryView) bool {
		ids = append(ids, v.Entry.ID)
		return len(ids) < movePage
	})
	return ids, err
}

// marked returns the ids of those of a page of messages that a move out of the spool of that name has begun with,
// and the last id of the page; none is left behind the last page.
func marked(ctx context.Context, s Spool, after, name string) (ids []string, last string, err error) {
	n := 0
	err = s.List(ctx, after, func(v *EntryView) bool {
		last = v.Entry.ID
		if v.Status.Moving == name || v.Status.Held == beingCopied+name {
			ids = append(ids, last)
		}
		n++
		return n < movePage
	})
	if n < movePage {
		last = ""
	}
	return ids, last, err
}

// resume releases what an earlier call has deleted in the old spool already.
func (m *move) resume(ctx context.Context) error {
	for after := ""; ; {
		moving, last, err := marked(ctx, m.to.Spool, after, m.from.Name)
		if err != nil {
			return fmt.Errorf("spool %s: %w", m.to.Name, err)
		}
		for _, id := range moving {
			_, err := m.from.Spool.Get(ctx, id)
			if !errors.Is(err, ErrNotFound) {
				continue
			}
			if err := m.release(ctx, id); err != nil {
				return fmt.Errorf("spool %s: %w", m.to.Name, err)
			}
		}
		if last == "" {
			return nil
		}
		after = last
	}
}

// release ends the move of a message that is in the new spool alone.
func (m *move) release(ctx context.Context, id string) error {
	copied := true
	_, err := m.to.Spool.Change(ctx, id, func(v *EntryView) error {
		copied = v.Status.Moving != ""
		settleView(v)
		return nil
	})
	if err == nil && !copied { // it was deleted in the old spool before its state was here
		_, err = m.to.Spool.Delete(ctx, id)
	}
	if err == nil && copied {
		m.tell(id, nil)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// unmovable is why one message cannot be moved, though others can.
type unmovable struct{ error }

func (m *move) one(ctx context.Context, id string) error {
	err := m.carry(ctx, id)
	if errors.Is(err, errBusy) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.busy = append(m.busy, id)
		return nil
	}
	if why, ok := errors.AsType[*unmovable](err); ok {
		m.tell(id, why.error)
		return nil
	}
	if err == nil {
		m.tell(id, nil)
	}
	if errors.Is(err, ErrNotFound) { // it was delivered, or deleted, meanwhile
		return nil
	}
	return err
}

func (m *move) tell(id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told(id, err)
}

// carry moves a message.
func (m *move) carry(ctx context.Context, id string) error {
	v, err := m.seize(ctx, id)
	if err != nil {
		return err
	}
	if err := m.copy(ctx, v); err != nil {
		if _, ok := errors.AsType[*unmovable](err); ok {
			return errors.Join(err, settle(ctx, m.from.Spool, id))
		}
		return err
	}
	if _, err := m.from.Spool.Delete(ctx, id, m.moved(v.Entry)); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("spool %s: %w", m.from.Name, err)
	}
	if err := settle(ctx, m.to.Spool, id); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	}
	return nil
}

var errBusy = errors.New("an attempt is under way")

// seize has the old spool hold the message, and returns it if nobody has anything of it in hand.
func (m *move) seize(ctx context.Context, id string) (*EntryView, error) {
	busy := false
	_, err := m.from.Spool.Change(ctx, id, func(v *EntryView) error {
		busy = v.InFlight() > 0 || v.StatusLeased
		return begin(v, m.from.Name, m.to.Name)
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrClosed):
		return nil, err
	case err != nil:
		if _, _, down := m.from.Spool.Size(ctx); down == nil {
			return nil, &unmovable{err}
		}
		return nil, fmt.Errorf("spool %s: %w", m.from.Name, err)
	case busy:
		return nil, errBusy
	}
	return m.from.Spool.Get(ctx, id)
}

// begin marks a message as one that is being moved.
func begin(v *EntryView, from, to string) error {
	switch v.Status.Moving {
	case from:
		return nil
	case "":
		v.Status.Moving, v.Status.HeldBefore = from, v.Status.Held
		v.Status.Held = "is being moved to the spool " + to
		return nil
	}
	return fmt.Errorf("it is being moved here out of %s: finish that first", v.Status.Moving)
}

// settle ends the move of a message where it is now.
func settle(ctx context.Context, s Spool, id string) error {
	_, err := s.Change(ctx, id, func(v *EntryView) error {
		settleView(v)
		return nil
	})
	return err
}

func settleView(v *EntryView) {
	if v.Status.Moving != "" {
		v.Status.Held, v.Status.HeldBefore, v.Status.Moving = v.Status.HeldBefore, "", ""
	}
}
