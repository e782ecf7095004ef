package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveNow answers GET /msa/now.
func serveNow(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.Now, error) {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		now := time.Now()
		answer := &adminapi.Now{Time: now, LastMinute: p.Tallies.Rates.LastMinute(now), Minutes: p.Tallies.Rates.Minutes(now),
			Spools: []adminapi.SpoolSize{}, Certificates: []adminapi.Certificate{}, Sessions: []adminapi.Sessions{}}
		reasons := p.unready(ctx)
		answer.Health = adminapi.Health{Ready: len(reasons) == 0, Reasons: reasons}
		for i, s := range p.all() {
			if size, ok := s.size(ctx, i > 0); ok {
				answer.Spools = append(answer.Spools, size)
			}
		}
		for i := range p.Servers {
			s := &p.Servers[i]
			if s.TLS != nil {
				answer.Certificates = append(answer.Certificates, s.shown(ctx, now))
			}
			if s.Gate != nil {
				answer.Sessions = append(answer.Sessions, adminapi.Sessions{Server: s.Name, Open: s.Gate.Connections()})
			}
		}
		return answer, nil
	})
}

// size is how much is in a store; not ok where a former one was closed meanwhile.
func (s Store) size(ctx context.Context, former bool) (size adminapi.SpoolSize, ok bool) {
	size = adminapi.SpoolSize{Spool: s.Key, Former: former}
	messages, octets, err := s.Spool.Size(ctx)
	if err == nil {
		size.Messages, size.Octets = messages, octets
		err = s.Spool.List(ctx, "", func(m *queue.EntryView) bool {
			size.Oldest, size.OldestID = m.Entry.Accepted, m.Entry.ID
			return false
		})
	}
	if roomy, ok := s.Spool.(queue.Roomy); ok && err == nil {
		size.Free, size.Total, size.Reserve, err = roomy.Room()
	}
	if former && errors.Is(err, queue.ErrClosed) {
		return size, false
	}
	if err != nil {
		size.Error = err.Error()
	}
	return size, true
}

// shown is the certificate that clients see.
func (s *Server) shown(ctx context.Context, now time.Time) adminapi.Certificate {
	c := adminapi.Certificate{Server: s.Name, Hostname: s.Hostname}
	leaf, err := s.leaf(ctx)
	if err != nil {
		c.Error = err.Error()
		return c
	}
	c.Issuer, c.NotBefore, c.NotAfter = leaf.Issuer.String(), leaf.NotBefore, leaf.NotAfter
	c.Days = int(leaf.NotAfter.Sub(now) / (24 * time.Hour))
	if err := s.certificate(ctx); err != nil {
		c.Error = err.Error()
	}
	return c
}
