package httpconsole

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

const (
	maxStreams = 100              // of one console
	streamLife = 30 * time.Second // then the browser comes again by itself: a reload waits for what is open
	lookEvery  = time.Second
	// idleShare is how much longer than a look takes is waited for the next one.
	idleShare = 10
)

// streams are those that are open.
type streams struct {
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newStreams() *streams {
	return &streams{places: make(chan struct{}, maxStreams), closed: make(chan struct{})}
}

func (s *streams) close() {
	if s != nil {
		s.once.Do(func() { close(s.closed) })
	}
}

// stream sends what of a page changes whenever it has changed (server-sent events).
func (v *visit) stream(w http.ResponseWriter) error {
	if v.r.Method != http.MethodGet {
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("use GET"))
	}
	p := pages[v.Query.Get("of")]
	if p == nil || !p.Live() {
		return caddyhttp.Error(http.StatusNotFound, errors.New("there is no such page that changes"))
	}
	v.Page = p
	v.Query.Del("of")
	select {
	case v.c.streams.places <- struct{}{}:
		defer func() { <-v.c.streams.places }()
	default:
		return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("too many pages are open"))
	}
	app, ok := running.App[running.Admin]()
	if !ok {
		return errNotRunning
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	if _, err := fmt.Fprintf(w, "retry: 1000\n\n"); err != nil {
		return nil
	}
	var last [32]byte
	end := time.NewTimer(streamLife)
	defer end.Stop()
	for {
		began := time.Now()
		if v.load() == nil { // else the page stays as it is
			html, err := v.render("live")
			if err != nil {
				return nil
			}
			if s := sum(html); s != last {
				last = s
				if _, err := w.Write(event(html)); err != nil {
					return nil
				}
			}
		}
		if out.Flush() != nil {
			return nil
		}
		timer := time.NewTimer(min(max(lookEvery, idleShare*time.Since(began)), streamLife))
		select {
		case <-timer.C:
		case <-end.C:
			return nil
		case <-v.c.streams.closed:
			return nil
		case <-v.r.Context().Done():
			return nil
		}
		if now, _ := running.App[running.Admin](); now != app || caddy.Exiting() {
			return nil // this site goes, too
		}
	}
}

// event is HTML as a server-sent event.
func event(html []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(html) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}
