package policyrecipients

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// dayCounts are the daily counts of this process, by what a policy is called.
var dayCounts = caddy.NewUsagePool()

// key is what policies of one name share, if they have the same midnight and the same users.
func (p *Recipients) key() string {
	return strings.Join([]string{p.Name, p.zone.String(), string(p.Case)}, "\x00")
}

// days counts recipients by user: those of a day, and those of messages that began before its midnight. The names are of users that
// have authenticated.
type days struct {
	mu            sync.Mutex
	day           string
	users, before map[string]int
}

// Destruct implements caddy.Destructor.
func (*days) Destruct() error { return nil }

// of are the counts of a day.
func (d *days) of(day string) map[string]int {
	switch {
	case day > d.day:
		d.day, d.users, d.before = day, make(map[string]int), d.users
	case day < d.day && d.before == nil:
		d.before = make(map[string]int)
	}
	if day < d.day {
		return d.before
	}
	return d.users
}

// take counts one more, if that is within limit.
func (d *days) take(day, user string, limit int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	users := d.of(day)
	if int64(users[user]) >= limit {
		return false
	}
	users[user]++
	return true
}

// note has the count be what all nodes have counted, so that this one goes on from there when it is alone.
func (d *days) note(day, user string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of(day)[user] = n
}

// giveBack takes away what was counted for nothing.
func (d *days) giveBack(day, user string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	users := d.of(day)
	if users[user] -= n; users[user] <= 0 {
		delete(users, user)
	}
}

// reserved is what a submission has counted; its key is the policy.
type reserved struct {
	day           string
	local, shared int
	addresses     []string // that were counted
}

// kept is how many of those that were counted are recipients of the message in the end. Others may be that the policy was not asked about.
func (res *reserved) kept(rcpts []queue.Recipient) (n int) {
	counted := make(map[string]int, len(res.addresses))
	for _, address := range res.addresses {
		counted[address]++
	}
	for i := range rcpts {
		if counted[rcpts[i].Address] > 0 {
			counted[rcpts[i].Address]--
			n++
		}
	}
	return n
}

// countDay counts a recipient at once, so that sessions side by side have one limit, and gives
// back what did not become a recipient of an accepted message.
func (p *Recipients) countDay(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	most, limited, err := p.perDay.Of(s.Identity.User, s.Identity.Attributes)
	if err != nil || !limited {
		return err
	}
	if most == 0 {
		return none("max_per_day")
	}
	now := p.now().In(p.zone)
	user := p.Case.Key(s.Identity.User)
	res, _ := s.Value(p).(*reserved) // midnight in mid-message: it is the day on which it began
	if res == nil {
		res = &reserved{day: now.Format(time.DateOnly)}
	}
	taken, err := p.take(ctx, s.Counter, res, user, most)
	if err != nil {
		return err
	}
	if !taken {
		tomorrow := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, p.zone)
		return refuse(450, smtp.EnhancedCode{4, 7, 1}, "max_per_day",
			fmt.Sprintf("Too many recipients today: %d are allowed, come back %s", most, tomorrow.Format("Mon 2 Jan 15:04 MST")))
	}
	res.addresses = append(res.addresses, r.Address)
	if s.Value(p) == nil {
		s.SetValue(p, res)
		counter := s.Counter
		p.shared.Hold()
		s.OnEnd(func(accepted bool) {
			defer p.shared.Release()
			back := res.local + res.shared
			if accepted {
				back -= min(back, res.kept(s.Entry.Recipients))
			}
			p.giveBack(counter, res, user, back)
		})
	}
	return nil
}
