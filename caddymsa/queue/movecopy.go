package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// beingCopied begins why a message is held of which the new spool has the octets, and not yet the state.
const beingCopied = "is being copied from the spool "

// copy has the new spool hold the message with all that is known of it.
func (m *move) copy(ctx context.Context, v *EntryView) error {
	there, err := m.to.Spool.Get(ctx, v.Entry.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		if err := m.write(ctx, v); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	case there.Status.Moving == m.from.Name, there.Status.Held == beingCopied+m.from.Name:
	default:
		return &unmovable{fmt.Errorf("the spool %s has a message %s of its own", m.to.Name, v.Entry.ID)}
	}
	_, err = m.to.Spool.Change(ctx, v.Entry.ID, func(c *EntryView) error {
		c.Status = *v.Status.Clone()
		for i := range c.Jobs {
			if i < len(v.Jobs) {
				j := *v.Jobs[i].Clone()
				j.Number, j.Leased = c.Jobs[i].Number, false
				c.Jobs[i] = j
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	}
	return nil
}

// write commits the message to the new spool, held. Its jobs get their states afterwards.
func (m *move) write(ctx context.Context, v *EntryView) error {
	message, err := m.opener.OpenMessage(ctx, v.Entry.ID)
	if err != nil {
		return m.unreadable(ctx, v.Entry.ID, err)
	}
	defer message.Close()
	ctx = asMoved(ctx)
	draft, err := m.to.Spool.Create(ctx)
	if err != nil {
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	}
	defer draft.Abort()
	source := &reading{r: message}
	if _, err := io.Copy(draft, source); err != nil {
		if source.err != nil {
			return m.unreadable(ctx, v.Entry.ID, source.err)
		}
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	}
	a := &Accept{Entry: v.Entry, Held: beingCopied + m.from.Name}
	for i := range v.Jobs {
		j := *v.Jobs[i].Clone()
		j.Number, j.Leased = i+1, false
		a.Jobs = append(a.Jobs, j)
	}
	if a.Facts, err = m.facts(ctx, v.Entry.ID); err != nil {
		return err
	}
	if err := draft.Commit(ctx, a); err != nil {
		return fmt.Errorf("spool %s: %w", m.to.Name, err)
	}
	return nil
}

// unreadable tells a message that is not whole from a spool that is out of order.
func (m *move) unreadable(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) {
		return err
	}
	if _, _, down := m.from.Spool.Size(ctx); down != nil {
		return fmt.Errorf("spool %s: %w", m.from.Name, err)
	}
	return &unmovable{fmt.Errorf("the message cannot be read: %w", err)}
}

// reading remembers that it was the reader that failed.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
