package policyrecipients

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// counts are the daily counts of this process, by what a policy is called.
var counts = caddy.NewUsagePool()

// key is what policies of one name share, if they have the same midnight and the same users.
func (p *Recipients) key() string {
	return strings.Join([]string{p.Name, p.zone.String(), string(p.Case)}, "\x00")
}

// days counts recipients by user, for one day. The names are of users that have authenticated.
type days struct {
	mu    sync.Mutex
	day   string
	users map[string]int
}

// Destruct implements caddy.Destructor.
func (*days) Destruct() error { return nil }

// take counts one more, if that is within limit.
func (d *days) take(day, user string, limit int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.day != day || d.users == nil {
		d.day, d.users = day, make(map[string]int)
	}
	if d.users[user] >= limit {
		return false
	}
	d.users[user]++
	return true
}

// giveBack takes away what was counted for nothing, if its day is not over.
func (d *days) giveBack(day, user string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.day != day {
		return
	}
	if d.users[user] -= n; d.users[user] <= 0 {
		delete(d.users, user)
	}
}

// reserved is what a submission has counted; its key is the policy.
type reserved struct {
	day string
	n   int
}

// countDay counts a recipient at once, so that sessions side by side have one limit, and gives
// back what did not become a recipient of an accepted message.
func (p *Recipients) countDay(s *caddymsa.Submission) error {
	if p.MaxPerDay == 0 {
		return nil
	}
	now := p.now().In(p.zone)
	day, user := now.Format(time.DateOnly), p.Case.Key(s.Identity.User)
	res, _ := s.Value(p).(*reserved)
	if res != nil {
		day = res.day // midnight in mid-message: it is the day on which it began
	}
	if !p.days.take(day, user, p.MaxPerDay) {
		tomorrow := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, p.zone)
		return refuse(450, smtp.EnhancedCode{4, 7, 1}, "max_per_day",
			fmt.Sprintf("Too many recipients today: %d are allowed, come back %s", p.MaxPerDay, tomorrow.Format("Mon 2 Jan 15:04 MST")))
	}
	if res == nil {
		res = &reserved{day: day}
		s.SetValue(p, res)
		s.OnEnd(func(accepted bool) {
			kept := 0
			if accepted {
				kept = min(res.n, len(s.Entry.Recipients))
			}
			p.days.giveBack(res.day, user, res.n-kept)
		})
	}
	res.n++
	return nil
}
