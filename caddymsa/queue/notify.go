package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// wants is what NOTIFY says of a kind of notification (RFC 3461 section 4.1): without it
// failures and delays are wanted.
func (r *Recipient) wants(kind string) bool {
	if len(r.Notify) == 0 {
		return kind != "SUCCESS"
	}
	return slices.Contains(r.Notify, kind)
}

// note adds to what the sender is told, one note for recipients that fared alike.
func (a *attempt) note(action dsn.Action, about []*Recipient, at time.Time) {
	fates := make(map[Fate]int)
	for _, r := range about {
		fate := r.common()
		fate.State = ""
		i, ok := fates[fate]
		if !ok {
			i = len(a.rec.Notes)
			fates[fate] = i
			n := Note{Time: at, Action: action, Fate: fate}
			if a.before != nil {
				n.Time = *a.before
			}
			if action == dsn.Delayed {
				n.Until = a.expires(a.schedule)
			}
			a.rec.Notes = append(a.rec.Notes, n)
		}
		a.rec.Notes[i].To = append(a.rec.Notes[i].To, r.Index)
	}
	for i := range a.rec.Notes {
		slices.Sort(a.rec.Notes[i].To)
	}
	if len(about) > 0 {
		a.rec.NotesDue = at.Add(notesWait)
	}
}

// noteSuccess notes what NOTIFY=SUCCESS asks for, unless the next hop does (RFC 3461 section 6.2).
func (a *attempt) noteSuccess(at time.Time) {
	var delivered, relayed []*Recipient
	for _, res := range a.Results {
		if res.Outcome != OutcomeDelivered || !res.Recipient.wants("SUCCESS") || a.nobodyToTell() != "" {
			continue
		}
		switch notifies, on := a.visited.WasRelayed(res.Recipient); {
		case !on:
			delivered = append(delivered, res.Recipient)
		case !notifies:
			relayed = append(relayed, res.Recipient)
		}
	}
	a.note(dsn.Delivered, delivered, at)
	a.note(dsn.Relayed, relayed, at)
}

// warn notes the delay for the sender, once.
func (a *attempt) warn(at time.Time) {
	if a.job.Copy != "" || a.job.Warned || a.nobodyToTell() != "" {
		return
	}
	a.job.Warned = true
	var late []*Recipient
	for _, r := range a.pending() {
		if r.wants("DELAY") {
			late = append(late, r)
		}
	}
	a.note(dsn.Delayed, late, at)
}

// told is a notification that is committed.
type told struct {
	id     string
	action dsn.Action
	about  []*Recipient
}

// tell commits a notification of each kind that the entry's notes ask for, together with the mark
// that they were told.
func (a *attempt) tell() {
	for trouble := false; ; trouble = true {
		at := now()
		all, err := a.notifications(at)
		if err == nil {
			err = a.lease.Record(context.Background(), &a.rec)
		}
		if err == nil {
			for _, t := range all {
				a.announce(t)
			}
			return
		}
		if errors.Is(err, ErrLost) || errors.Is(err, ErrLeaseEnded) {
			return
		}
		if !trouble {
			a.q.log.Error("a notification cannot be stored yet", zap.String(fieldQueueID, a.e.ID), zap.Error(err))
		}
		pause := time.NewTimer(recordPause)
		select {
		case <-pause.C:
		case <-a.q.attempts.Done():
			pause.Stop()
			a.lease.Release()
			return
		}
	}
}

// notifications builds them into the record.
func (a *attempt) notifications(at time.Time) (all []told, err error) {
	a.hostname = a.g.Hostname(a.e)
	a.rec = Record{At: at}
	by := make(map[dsn.Action][]Note)
	for _, n := range a.status.Notes {
		by[n.Action] = append(by[n.Action], n)
		a.rec.Told = max(a.rec.Told, n.Seq)
	}
	for _, action := range []dsn.Action{dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed} {
		notes := by[action]
		if len(notes) == 0 {
			continue
		}
		t := told{action: action}
		for _, n := range notes {
			for _, i := range n.To {
				if i >= len(a.e.Recipients) {
					continue
				}
				r := a.e.Recipients[i]
				r.Index, r.Fate = i, n.Fate.of(&r)
				t.about = append(t.about, &r)
			}
		}
		var m MessageDraft
		if t.id, m, err = a.notification(action, notes, at); err != nil {
			for _, m := range a.rec.Messages {
				m.Draft.Abort()
			}
			return nil, err
		}
		a.rec.Messages = append(a.rec.Messages, m)
		v := Event{Time: at, What: "told " + string(action), Notification: t.id}
		if action == dsn.Failed {
			v.What = "bounced"
		}
		for _, r := range t.about {
			v.To = append(v.To, r.Index)
		}
		slices.Sort(v.To)
		a.rec.Events = append(a.rec.Events, v)
		if action == dsn.Failed {
			a.noteAbout(journal.Bounced, t.about, t.id, "", at)
		} else {
			a.noteAbout(journal.Told, t.about, t.id, string(action), at)
		}
		all = append(all, t)
	}
	return all, nil
}

// announce tells log and observer of a notification.
func (a *attempt) announce(t told) {
	fields := []zap.Field{zap.String(fieldQueueID, a.e.ID), zap.String(fieldBounce, t.id), zap.String(fieldAction, string(t.action)),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(t.about))}
	switch t.action {
	case dsn.Failed:
		a.q.log.Warn("sender told of the failure", fields...)
		a.q.opts.Observer.GaveUp(a.e, t.about, t.id, "")
		return
	case dsn.Delayed:
		a.q.log.Info("sender told of the delay", fields...)
	default:
		a.q.log.Info("sender told of the delivery", fields...)
	}
	a.q.opts.Observer.Told(a.e, t.action, t.about, t.id)
}
