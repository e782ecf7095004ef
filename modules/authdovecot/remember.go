package authdovecot

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
)

// remembered is a cache of right passwords that also knows who Dovecot said that the user is.
// nil remembers nothing.
type remembered struct {
	cache *authcache.Cache

	mu  sync.Mutex
	ids map[authcache.Key]caddymsa.Identity
}

// newRemembered returns nil if ttl is zero.
func newRemembered(ttl time.Duration) *remembered {
	if ttl <= 0 {
		return nil
	}
	return &remembered{cache: authcache.New(ttl, nil), ids: make(map[authcache.Key]caddymsa.Identity)}
}

// key has the client's address in it: whether a user may come from there is Dovecot's to say.
func (r *remembered) key(revision uint64, from netip.Addr, user, password string) authcache.Key {
	if r == nil {
		return authcache.Key{}
	}
	return r.cache.Key(revision, user+"\x00"+from.Unmap().WithZone("").String(), password)
}

func (r *remembered) get(k authcache.Key) (id caddymsa.Identity, ok bool) {
	if r == nil || !r.cache.Has(k) {
		return id, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok = r.ids[k]
	return id, ok
}

func (r *remembered) put(k authcache.Key, id caddymsa.Identity) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache.Add(k)
	if len(r.ids) >= 2*authcache.MaxEntries {
		for old := range r.ids {
			if !r.cache.Has(old) {
				delete(r.ids, old)
			}
		}
	}
	r.ids[k] = id
}
