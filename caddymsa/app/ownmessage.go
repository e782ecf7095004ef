package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// own is a message of a user's, as spools and journals have it.
type own struct {
	running.Message
	store *store           // that has it; nil: it has left
	view  *queue.EntryView // in there
}

// isOwn tells whether what was accepted is the user's that has logged in.
func (v *visit) isOwn(srv *Server, server, user string) bool {
	id := v.login.identity
	return server == srv.name && user != "" && id.Case.Key(user) == id.Case.Key(id.User)
}

// Message implements running.Own.
func (v *visit) Message(ctx context.Context, id string) (m *running.Message, err error) {
	defer v.outlive(&err)
	srv, call, leave, err := v.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	o, err := v.find(call, srv, id)
	if err != nil {
		return nil, err
	}
	return &o.Message, nil
}

// find puts together what is known of a message. The journal is read last: it tells what became of what leaves the spool
// meanwhile, and of what the spool has seen tried.
func (v *visit) find(ctx context.Context, srv *Server, id string) (*own, error) {
	store, m, err := v.waiting(ctx, srv, id)
	if err != nil {
		return nil, err
	}
	calling(ctx, "spool", "Facts")
	o, err := v.remembered(ctx, srv, id)
	if err != nil {
		return nil, err
	}
	if m != nil {
		o.store, o.view = store, m
		o.queued(m)
	}
	if o.ID == "" {
		known := lately.message(v, srv, id)
		if known == nil || srv.app.delivery.journal() == nil {
			return nil, running.ErrNoMessage
		}
		o.Message = *known
	}
	o.sumUp()
	return o, nil
}

// waiting is what a spool has of a message; nil: it waits in none.
func (v *visit) waiting(ctx context.Context, srv *Server, id string) (*store, *queue.EntryView, error) {
	for _, s := range srv.app.stores() {
		calling(ctx, "spool", "Get")
		m, err := queue.Guard(s.spool, s.log).Get(ctx, id)
		switch {
		case errors.Is(err, queue.ErrNotFound):
			continue
		case err != nil:
			return nil, nil, err
		case m.Entry.Bounce || !v.isOwn(srv, m.Entry.Server, m.Entry.User):
			return nil, nil, running.ErrNoMessage
		}
		return s, m, nil
	}
	return nil, nil, nil
}

// remembered is what the journal has of a message, from the latest fact on.
func (v *visit) remembered(ctx context.Context, srv *Server, id string) (*own, error) {
	o, fates := new(own), make(map[string]running.Recipient)
	if srv.app.delivery.journal() == nil {
		return o, nil
	}
	err := srv.app.facts(ctx, &journal.Query{ID: id}, func(f *journal.Fact) bool {
		switch {
		case f.ID != id || f.Visit != nil && f.Copy != "": // of its notification, or of a copy
		case f.What == journal.Accepted && f.Submission != nil && !f.Bounce && v.isOwn(srv, f.Server, f.User):
			o.Message = running.Message{ID: id, Accepted: f.Time, Sender: f.Sender, Size: f.Size}
			for _, address := range f.Recipients {
				r := fates[address]
				if r.Address = address; r.State == "" {
					r.State = running.Queued
				}
				o.Recipients = append(o.Recipients, r)
			}
			return false
		default:
			state, ok := states[f.What]
			if !ok {
				break
			}
			for _, address := range f.Recipients {
				if _, later := fates[address]; !later {
					fates[address] = fateOf(address, state, f)
				}
			}
		}
		return true
	})
	return o, err
}

var states = map[journal.Kind]running.State{journal.Deferred: running.Deferred, journal.Delivered: running.Delivered, journal.Failed: running.Failed,
	journal.Expired: running.Failed, journal.Deleted: running.TakenBack}

// fateOf tells of a next hop's words only those that are a reply: the rest names our own hosts and files.
func fateOf(address string, state running.State, f *journal.Fact) running.Recipient {
	r := running.Recipient{Address: address, State: state, Time: f.Time}
	if f.Visit != nil && f.Code != 0 {
		r.Status, r.Text = f.Status, caddymsa.ReplyLine(f.Text)
	}
	return r
}

// queued has what the spool says go before what the journal does: recipients that wait may be tried again after all.
func (o *own) queued(m *queue.EntryView) {
	before := make(map[string]running.Recipient, len(o.Recipients))
	for _, r := range o.Recipients {
		before[r.Address] = r
	}
	e := m.Entry
	o.Message = running.Message{ID: e.ID, Accepted: e.Accepted, Sender: e.Sender, Size: e.Size}
	for _, r := range m.Recipients() {
		was := before[r.Address]
		now := running.Recipient{Address: r.Address, State: running.Queued}
		switch {
		case r.State == queue.Delivered:
			now.State = running.Delivered
		case r.State == queue.Failed:
			now.State = running.Failed
		case m.Status.Held != "":
			now.State = running.Held
		case r.Error != "":
			now.State = running.Deferred
		}
		if was.State == now.State {
			now.Time = was.Time
		}
		if r.Code != 0 {
			now.Status, now.Text = r.Status, caddymsa.ReplyLine(r.Error)
		}
		o.Recipients = append(o.Recipients, now)
	}
}

// sumUp finds the state of the message in those of its recipients.
func (o *own) sumUp() {
	for _, state := range []running.State{running.Held, running.Deferred, running.Queued, running.Failed, running.TakenBack, running.Delivered} {
		if o.State == "" && slices.ContainsFunc(o.Recipients, func(r running.Recipient) bool { return r.State == state }) {
			o.State = state
		}
	}
}

// TakeBack implements running.Own.
func (v *visit) TakeBack(ctx context.Context, id string) (m *running.Message, err error) {
	defer v.outlive(&err)
	srv, call, leave, err := v.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	o, err := v.find(call, srv, id)
	if err != nil {
		return nil, err
	}
	if !o.canBeTakenBack() {
		return nil, running.ErrTooLate
	}
	f := o.view.Entry.Fact(journal.Deleted, time.Now())
	for _, r := range o.view.Recipients() {
		if r.State == queue.Pending {
			f.Recipients = append(f.Recipients, r.Address)
		}
	}
	f.Count, f.By, f.Text = len(f.Recipients), v.login.identity.User, "taken back by the user"
	calling(call, "spool", "Delete")
	inFlight, err := queue.Guard(o.store.spool, o.store.log).Delete(context.WithoutCancel(call), id, f)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, running.ErrTooLate
	}
	if err != nil {
		return nil, err
	}
	srv.log.Info("message taken back", append(v.fields(), zap.String(fieldQueueID, id), zap.Strings(fieldRecipients, f.Recipients), zap.Int("in_flight", inFlight))...)
	for i := range o.Recipients {
		if r := &o.Recipients[i]; slices.Contains(f.Recipients, r.Address) {
			*r = running.Recipient{Address: r.Address, State: running.TakenBack, Time: f.Time}
		}
	}
	o.State = ""
	o.sumUp()
	return &o.Message, nil
}

// canBeTakenBack tells whether nobody needs the message any more. A copy of what somebody has, or is about to
// get, is not the user's to take back.
func (o *own) canBeTakenBack() bool {
	if o.view == nil || o.view.Status.Moving != "" {
		return false
	}
	waiting, copies, sent := false, false, false
	for i := range o.view.Jobs {
		switch j := &o.view.Jobs[i]; {
		case j.Copy != "":
			copies = copies || j.Pending()
		case j.Leased:
			waiting, sent = true, true
		case j.Pending():
			waiting = true
		}
	}
	for _, r := range o.view.Recipients() {
		sent = sent || r.State == queue.Delivered
	}
	return waiting && !(copies && sent)
}
