package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// once is a request that can be sent again. That it was accepted is in the journal, in the commit that accepts it; where nodes
// share a spool that remembers messages, that says of two nodes which was first.
type once struct {
	digest [32]byte // of server, user and key
	sum    func() [32]byte
}

func (v *visit) onceOf(k *running.Once) *once {
	return &once{digest: v.digestOf(k.Key), sum: k.Sum}
}

func (v *visit) digestOf(key string) [32]byte {
	id := v.login.identity
	text := "once\x00"
	for _, s := range []string{string(v.place.(named)), id.Case.Key(id.User), key} {
		text += strconv.Itoa(len(s)) + ":" + s
	}
	return sha256.Sum256([]byte(text))
}

// mark has the fact that accepts a message say so.
func (o *once) mark(accepted *journal.Fact) {
	if o != nil {
		sum := o.sum()
		accepted.Once, accepted.OnceSum = hex.EncodeToString(o.digest[:]), hex.EncodeToString(sum[:])
	}
}

// once is by what the spool is to tell that a message was accepted before: the client's own word counts before a policy's.
func (t *transaction) once(srv *Server) *queue.Once {
	if o := t.s.once; o != nil && t.sub.Before != nil {
		return &queue.Once{Digest: o.digest, Keep: srv.app.Journal.limits().Keep}
	}
	return t.sub.Once
}

var errNoMemory = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 3, 3}, Message: "Requests with an Idempotency-Key are not served here, since there is no journal"}

// keysUnderWay has the digests of requests that are.
var keysUnderWay sync.Map

// Earlier implements running.Submitter.
func (v *visit) Earlier(ctx context.Context, key string) (first *running.Accepted, release func(), ok bool, err error) {
	defer v.outlive(&err)
	digest := v.digestOf(key)
	if _, busy := keysUnderWay.LoadOrStore(digest, true); busy {
		return nil, nil, false, nil
	}
	defer func() {
		if release == nil {
			keysUnderWay.Delete(digest)
		}
	}()
	srv, call, leave, err := v.enter(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	defer leave()
	if srv.app.delivery.journal() == nil {
		return nil, nil, false, errNoMemory
	}
	if first = lately.accepted(digest); first == nil {
		if first, err = srv.acceptedWith(call, digest); err != nil {
			return nil, nil, false, err
		}
	}
	return first, sync.OnceFunc(func() { keysUnderWay.Delete(digest) }), true, nil
}

// acceptedWith is what was accepted with a key; nil: nothing was.
func (srv *Server) acceptedWith(call context.Context, digest [32]byte) (first *running.Accepted, err error) {
	calling(call, "spool", "Facts")
	q := &journal.Query{Once: hex.EncodeToString(digest[:]), What: []journal.Kind{journal.Accepted}}
	err = srv.app.facts(call, q, func(f *journal.Fact) bool {
		first = &running.Accepted{ID: f.ID}
		_, err := hex.Decode(first.Sum[:], []byte(f.OnceSum)[:min(len(f.OnceSum), 2*len(first.Sum))])
		return err != nil // a sum that cannot be read is another's
	})
	return first, err
}

var errKeyReused = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: running.KeyReused}

// before is what a message comes to that the spool has accepted before: with the client's key another node may have
// accepted another message at the same time.
func (t *transaction) before(ctx context.Context, srv *Server, id string) error {
	if o := t.s.once; o != nil && t.sub.Before != nil {
		first, err := srv.acceptedWith(ctx, o.digest)
		if err != nil {
			return err
		}
		if first != nil && first.Sum != o.sum() {
			return errKeyReused
		}
	}
	return &caddymsa.AlreadyAccepted{ID: id}
}

// facts asks the journals of all spools that the configuration has open, until yield returns false.
func (app *App) facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	for _, s := range app.stores() {
		reader, ok := s.spool.(journal.Reader)
		if !ok {
			continue
		}
		more := true
		err := queue.Guarded(app.log, func() error {
			return reader.Facts(ctx, q, func(f *journal.Fact) bool {
				more = yield(f)
				return more
			})
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// stores are the one that is accepted into, then the former ones.
func (app *App) stores() []*store {
	all := []*store{app.delivery.store}
	for _, f := range app.former {
		if !f.over() {
			all = append(all, f.d.store)
		}
	}
	return all
}
