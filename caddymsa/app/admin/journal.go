package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveJournalStat answers GET /msa/journal/stat.
func serveJournalStat(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.Journals, error) {
		answer := &adminapi.Journals{Off: p.Journal.Off, Keep: p.Journal.Keep, MaxSize: p.Journal.MaxSize, Journals: []adminapi.Journal{}}
		for i, s := range p.all() {
			j := adminapi.Journal{Spool: s.Key, Former: i > 0, None: true}
			if keeper, ok := s.Spool.(journal.Keeper); ok {
				var err error
				if j.Stat, err = keeper.Stat(ctx); i > 0 && errors.Is(err, queue.ErrClosed) {
					continue // it is empty since
				} else if err != nil {
					return nil, fmt.Errorf("journal of %s: %w", s.Key, err)
				}
				j.None = false
			}
			answer.Journals = append(answer.Journals, j)
		}
		return answer, nil
	})
}

// purgeJournals answers POST /msa/journal-actions/purge. The log says who did it, and not with which address: that is to be gone.
func purgeJournals(ctx context.Context, p *Part, request *adminapi.JournalPurge) (*adminapi.JournalPurged, error) {
	address := bare(strings.TrimSpace(request.Address))
	if address == "" {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("address: name the address, or the user, to be purged")}
	}
	answer, keepers := new(adminapi.JournalPurged), 0
	for i, s := range p.all() {
		keeper, ok := s.Spool.(journal.Keeper)
		if !ok {
			continue
		}
		keepers++
		changed, err := keeper.Purge(ctx, address)
		if i > 0 && errors.Is(err, queue.ErrClosed) {
			continue // it is empty since
		}
		answer.Facts += changed
		p.Log.Info("journal purged of an address", zap.String("spool", s.Key), zap.Int("facts", changed), zap.String("by", OperatorOf(ctx)), zap.Error(err))
		if err != nil {
			return nil, fmt.Errorf("journal of %s, after %d facts: %w", s.Key, answer.Facts, err)
		}
	}
	if keepers == 0 {
		return nil, errNoJournal
	}
	return answer, nil
}
