package app

import (
	"errors"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

var errNoCounts = errors.New("spool: the spool of this configuration is one node's alone; set spool postgres, or let the nodes share the counts in redis")

// canCount refuses a limit that is to count in the spool where that has no counts.
func (app *App) canCount(limit any) error {
	if c, ok := limit.(caddymsa.SpoolCounting); ok && c.CountsInSpool() {
		if _, ok := app.spool.(caddymsa.SpoolCounter); !ok {
			return errNoCounts
		}
	}
	return nil
}

// counter has the counts of the spool that accepts, or is nil.
func (app *App) counter() counts.Counter {
	c, _ := app.delivery.store.spool.(counts.Counter)
	return c
}

// stopAuth ends what the throttle counts in.
func (srv *Server) stopAuth() {
	if srv.Auth != nil {
		_ = srv.Auth.Throttle.Close()
	}
}
