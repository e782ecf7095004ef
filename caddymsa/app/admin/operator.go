package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

type operatorKey struct{}

// WithOperator names who asks for something, for the journal: what serves people by another way than Caddy's admin API
// names the one it knows.
func WithOperator(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// OperatorOf is who asks.
func OperatorOf(ctx context.Context) string {
	name, _ := ctx.Value(operatorKey{}).(string)
	return name
}

// operatorOf is who sends a request: whom WithOperator named; a client certificate's subject, where Caddy's admin endpoint has asked
// for one (remote administration); else the name that the client says, which nothing proves; else "admin".
func operatorOf(r *http.Request) string {
	if name := OperatorOf(r.Context()); name != "" {
		return name
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		c := r.TLS.PeerCertificates[0]
		if subject := caddymsa.ReplyLine(c.Subject.String()); subject != "" {
			return subject
		}
		return "certificate " + c.SerialNumber.Text(16)
	}
	if name := caddymsa.ReplyLine(r.Header.Get(adminapi.OperatorHeader)); name != "" {
		return name[:min(len(name), maxOperator)] + " (as the client says)"
	}
	return "admin"
}

// maxOperator bounds a name that a client says.
const maxOperator = 100

// note has the journal keep what is done with a message.
func note(m *queue.EntryView, what journal.Kind, now time.Time, by, text string) {
	f := m.Entry.Fact(what, now)
	f.By, f.Text = by, text
	m.Facts = append(m.Facts, f)
}

// noteAlone has the journal keep what is done with something else than a message.
func (p *Part) noteAlone(ctx context.Context, f journal.Fact) {
	if p.Journal.Off {
		return
	}
	if noter, ok := p.Spool.(journal.Noter); ok {
		f.Time, f.By = time.Now(), OperatorOf(ctx)
		noter.Note(f)
	}
}

// because is what was done with it, and the reason, if there is one.
func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// deleted is the journal's last word about a message, of which nothing but the id is known where it cannot be read.
func deleted(m *queue.EntryView, id string, now time.Time, a *request) journal.Fact {
	f := journal.Fact{Time: now, What: journal.Deleted, ID: id}
	if m != nil {
		f = m.Entry.Fact(journal.Deleted, now)
		for _, r := range m.Recipients() {
			if r.State == queue.Pending {
				f.Recipients = append(f.Recipients, r.Address)
			}
		}
		f.Count = len(f.Recipients)
	}
	f.By, f.Text = a.by, a.Reason
	return f
}
