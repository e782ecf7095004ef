package app

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// itemError is the error of one policy, route or the like of a server, in the operator's words.
type itemError struct{ error }

func (e itemError) Unwrap() error { return e.error }

// item says which one of a server an error is about, as an operator counts, and where in the Caddyfile it is,
// if that is known.
func (srv *Server) item(which string, object json.RawMessage, err error) error {
	if err == nil {
		return nil
	}
	inner, err := places.Cut(err)
	place := cmp.Or(inner, places.Of(object), srv.lines[""])
	return itemError{places.At(place, fmt.Errorf("%s of server %s: %w", which, srv.name, places.Module(object, err)))}
}

// backendError names the backend that an error of Caddy's is about.
func (srv *Server) backendError(raws []json.RawMessage, err error) error {
	i, ok, rest := places.CutPosition(err)
	if !ok || i >= len(raws) {
		return err
	}
	return srv.item("the "+places.Ordinal(i+1)+" auth backend", raws[i], rest)
}

// rememberLines has the servers know where in the Caddyfile they stand, before they are provisioned.
func (app *App) rememberLines() {
	for _, srv := range app.Servers {
		if srv == nil {
			continue
		}
		if raw, err := json.Marshal(srv); err == nil {
			srv.lines = places.OfServer(raw)
		}
	}
}

// setting says where the setting of the app stands that an error is about: in the block of one of the servers.
func (app *App) setting(err error) error {
	for _, srv := range app.Servers {
		if srv == nil {
			continue
		}
		if at := srv.lines.Find(err); at != srv.lines[""] {
			return places.At(at, err)
		}
	}
	return err
}
