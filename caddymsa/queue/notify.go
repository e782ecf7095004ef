package queue

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

// wants is what NOTIFY says of a kind of notification (RFC 3461 section 4.1): without it
// failures and delays are wanted.
func (r *Recipient) wants(kind string) bool {
	if len(r.Notify) == 0 {
		return kind != "SUCCESS"
	}
	return slices.Contains(r.Notify, kind)
}

// tellSuccess sends what NOTIFY=SUCCESS asks for, unless the next hop does (RFC 3461 section 6.2).
func (a *attempt) tellSuccess(at time.Time) {
	var delivered, relayed []*Recipient
	for _, p := range a.parts {
		for _, res := range p.Results {
			if res.Outcome != OutcomeDelivered || !res.Recipient.wants("SUCCESS") || a.nobodyToTell() != "" {
				continue
			}
			switch notifies, on := p.relayed[res.Recipient]; {
			case !on:
				delivered = append(delivered, res.Recipient)
			case !notifies:
				relayed = append(relayed, res.Recipient)
			}
		}
	}
	a.tell(dsn.Delivered, delivered, at)
	a.tell(dsn.Relayed, relayed, at)
}

// late are the pending recipients of whose delay the sender is to be told, once.
func (a *attempt) late(at time.Time) (late []*Recipient) {
	if a.nobodyToTell() != "" {
		return nil
	}
	for _, p := range a.parts {
		if p.schedule.Warn <= 0 || at.Before(a.e.began().Add(p.schedule.Warn)) {
			continue
		}
		for _, res := range p.Results {
			if r := res.Recipient; r.State == Pending && !r.Warned && r.wants("DELAY") && res.Outcome != OutcomeInterrupted {
				late = append(late, r)
			}
		}
	}
	return late
}

// warn tells the sender of a delay.
func (a *attempt) warn(late []*Recipient, at time.Time) {
	if a.tell(dsn.Delayed, late, at) {
		for _, r := range late {
			r.Warned = true
		}
	}
}

// tell sends a notification that is no bounce. If it cannot be stored, that is logged: the
// message itself is not delivered again for it.
func (a *attempt) tell(action dsn.Action, about []*Recipient, at time.Time) bool {
	if len(about) == 0 {
		return false
	}
	id, err := a.notify(action, about, at)
	if err != nil {
		a.q.log.Error("a notification cannot be stored", zap.String(fieldQueueID, a.e.ID), zap.String(fieldAction, string(action)), zap.Error(err))
		return false
	}
	a.e.note(Event{Time: at, What: "told " + string(action), ID: id, Recipients: addressesOf(about)})
	a.q.log.Info("sender told of the "+map[dsn.Action]string{dsn.Delayed: "delay", dsn.Delivered: "delivery", dsn.Relayed: "delivery"}[action],
		zap.String(fieldQueueID, a.e.ID), zap.String(fieldBounce, id), zap.String(fieldAction, string(action)),
		zap.String(fieldSender, a.e.Sender), zap.Strings(fieldRecipients, addressesOf(about)))
	a.q.opts.Observer.Told(a.e, action, about, id)
	return true
}
