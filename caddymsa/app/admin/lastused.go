package admin

import (
	"context"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

const (
	// maxLooked is how many facts are looked at for when application passwords were last used.
	maxLooked = 5000
	// maxFormer is how many of a user's former names are looked for.
	maxFormer = 10
)

// span is when a user had a name: from since on, before until. Zero: always.
type span struct {
	name         string
	since, until time.Time
}

// lastUsed asks the journals when application passwords were last used, under the names that the user had before too. What they
// say of the same name before or after that is another user's.
func (p *Part) lastUsed(ctx context.Context, u *passwd.Summary) {
	if len(u.AppPasswords) == 0 {
		return
	}
	var all []journal.Journal
	for _, store := range p.all() {
		if j, ok := store.Spool.(journal.Journal); ok {
			all = append(all, j)
		}
	}
	for _, s := range spans(ctx, all, u.Name) {
		for _, j := range all {
			usedIn(ctx, j, s, u.AppPasswords)
		}
	}
}

// spans are the names that a user had, the latest first.
func spans(ctx context.Context, all []journal.Journal, name string) []span {
	last := span{name: name}
	for found := []span{}; ; {
		at, former := time.Time{}, ""
		for _, j := range all {
			_ = j.Facts(ctx, &journal.Query{User: last.name, What: []journal.Kind{journal.Renamed}, Until: last.until}, func(f *journal.Fact) bool {
				if f.Time.After(at) {
					at, former = f.Time, f.Sender
				}
				return false
			})
		}
		last.since = at
		if found = append(found, last); former == "" || len(found) > maxFormer {
			return found
		}
		last = span{name: former, until: at}
	}
}

// usedIn sets when application passwords were last used, as one journal has it.
func usedIn(ctx context.Context, j journal.Journal, s span, passwords []passwd.AppSummary) {
	seen := make(map[string]bool)
	looked := 0
	_ = j.Facts(ctx, &journal.Query{User: s.name, What: []journal.Kind{journal.Accepted}, Since: s.since, Until: s.until}, func(f *journal.Fact) bool {
		looked++
		if f.Submission == nil || f.Submission.AppPassword == "" {
			return looked < maxLooked
		}
		label := names.Fold(f.Submission.AppPassword)
		seen[label] = true
		for i := range passwords {
			if a := &passwords[i]; names.Fold(a.Label) == label && a.LastUsed.Before(f.Time) {
				a.LastUsed = f.Time
			}
		}
		return looked < maxLooked && len(seen) < len(passwords)
	})
}
