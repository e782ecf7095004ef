package app

import (
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// lately are messages of web sites' requests that were delivered while the client waited: the journal, which is what
// remembers them, is written some seconds later.
var lately late

const lateFacts = time.Minute

type late struct {
	keys sync.Map // *running.Accepted by the digest of a key
	ids  sync.Map // *lateMessage by queue id
}

type lateMessage struct {
	server, user string
	running.Message
}

// add remembers the transaction's message.
func (l *late) add(t *transaction) {
	if _, ofWebSite := t.s.client.(*request); !ofWebSite {
		return
	}
	e := t.sub.Entry
	m := &lateMessage{e.Server, e.User, running.Message{ID: e.ID, Accepted: e.Accepted, Sender: e.Sender, Size: e.Size}}
	for _, address := range addressesOf(e) {
		m.Recipients = append(m.Recipients, running.Recipient{Address: address, State: running.Delivered, Time: time.Now()})
	}
	l.ids.Store(e.ID, m)
	time.AfterFunc(lateFacts, func() { l.ids.Delete(e.ID) })
	if o := t.s.once; o != nil {
		first := &running.Accepted{ID: e.ID, Sum: o.sum()}
		l.keys.Store(o.digest, first)
		time.AfterFunc(lateFacts, func() { l.keys.CompareAndDelete(o.digest, first) })
	}
}

// accepted is what was with a key; nil: nothing was.
func (l *late) accepted(digest [32]byte) *running.Accepted {
	first, _ := l.keys.Load(digest)
	known, _ := first.(*running.Accepted)
	return known
}

// message is one of the user's; nil: there is none.
func (l *late) message(v *visit, srv *Server, id string) *running.Message {
	known, _ := l.ids.Load(id)
	m, ok := known.(*lateMessage)
	if !ok || !v.isOwn(srv, m.server, m.user) {
		return nil
	}
	own := m.Message
	return &own
}
