package tableauth

import (
	"slices"
	"sort"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// ends are the times at which application passwords expire.
func ends(t *passwd.Table) (all []time.Time) {
	for u := range t.All() {
		for i := range u.Apps {
			if at := u.Apps[i].Expires; !at.IsZero() {
				all = append(all, at)
			}
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// Revision implements caddymsa.Revisioner. An application password that expires is a change too.
func (b *Backend) Revision() uint64 {
	v := b.current.Load()
	now := b.now()
	over := sort.Search(len(v.ends), func(i int) bool { return v.ends[i].After(now) })
	return v.number<<32 | uint64(over)
}
