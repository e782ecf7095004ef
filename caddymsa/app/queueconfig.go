package app

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// RetryConfig says how often delivery is tried and when it is given up.
type RetryConfig struct {
	RetryTimes
	// Destinations have schedules of their own, by the recipient's domain; the first that has it
	// counts. What they do not say is as it is beside them. A route that has a schedule of its own
	// heeds its own destinations and not the app's.
	Destinations []*DestinationRetry `json:"destinations,omitempty"`

	destinations []destinationSchedule
}

// DestinationRetry is the schedule of some domains.
type DestinationRetry struct {
	// Domains of recipients: example.org, *.example.org. Required.
	Domains []string `json:"domains,omitempty"`
	RetryTimes
}

// destinationSchedule is a DestinationRetry as the queue wants it.
type destinationSchedule struct {
	domains  *mailaddr.Set
	schedule *queue.Schedule
}

// RetryTimes are the times of a schedule.
type RetryTimes struct {
	// Retry are the waits after the first, second ... failed attempt; the last
	// repeats. Default 1m, 5m, 15m, 1h, 4h.
	Retry []conf.Duration `json:"retry,omitempty"`
	// Expire is the age at which a message that could not be delivered is given
	// up and its sender told. Default 5d.
	Expire conf.Duration `json:"expire,omitempty"`
	// Warn is the age at which the sender is told that a message is delayed, once, unless its NOTIFY
	// says otherwise (RFC 3461 section 4.1). Default 4h; negative: never.
	Warn conf.Duration `json:"warn,omitempty"`
}

// QueueConfig says how what was accepted is delivered.
type QueueConfig struct {
	RetryConfig
	// DeadLetters is how long a message is kept for the operator when it failed for good, after its
	// sender was told: "caddy msa queue retry" tries it again. Default: not at all.
	DeadLetters conf.Duration `json:"dead_letters,omitempty"`
	// ShowContent lets the admin API show messages, not only their envelopes. Default: it does not.
	ShowContent bool `json:"show_content,omitempty"`
	// Workers is how many delivery attempts run at once. One lane never has more than a quarter of them.
	// Default 256.
	Workers int `json:"workers,omitempty"`
	// Probe is the wait before a lane that is down is tried again, and the longest to which that
	// wait grows, doubled with each failure. Default 15s, 5m.
	Probe []conf.Duration `json:"probe,omitempty"`
	// LaneSeries is for how many lanes there are metrics of their own: those that are not up first, then those with the
	// most that waits. Default 100; negative: none.
	LaneSeries int `json:"lane_series,omitempty"`

	schedule queue.Schedule // the same, as the queue wants it
	settings queue.Settings
}

// provision sets the defaults and checks what was set.
func (q *QueueConfig) provision() error {
	if len(q.Retry) == 0 {
		for _, d := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour} {
			q.Retry = append(q.Retry, conf.Duration(d))
		}
	}
	if q.Expire == 0 {
		q.Expire = conf.Duration(5 * 24 * time.Hour)
	}
	if q.Warn == 0 {
		q.Warn = conf.Duration(4 * time.Hour)
	}
	if q.Workers == 0 {
		q.Workers = 256
	}
	if q.LaneSeries == 0 {
		q.LaneSeries = 100
	}
	if q.DeadLetters < 0 {
		return errors.New("dead_letters: must not be negative; leave it out to keep none")
	}
	if len(q.Probe) == 0 {
		q.Probe = []conf.Duration{conf.Duration(15 * time.Second), conf.Duration(5 * time.Minute)}
	}
	if len(q.Probe) == 1 {
		q.Probe = append(q.Probe, max(q.Probe[0], conf.Duration(5*time.Minute)))
	}
	if len(q.Probe) > 2 {
		return errors.New("probe: takes two waits, the first and the longest (for example 15s 5m)")
	}
	q.settings = queue.Settings{Workers: q.Workers, FirstProbe: time.Duration(q.Probe[0]), LastProbe: time.Duration(q.Probe[1])}
	if err := q.settings.Validate(); err != nil {
		return err
	}
	q.schedule = queue.Schedule{Keep: time.Duration(q.DeadLetters)}
	q.apply(&q.schedule)
	if err := q.schedule.Validate(); err != nil {
		return err
	}
	return q.provisionDestinations(q.schedule)
}

// schedule is what a route's settings make of the app's.
func (c *RetryConfig) schedule(app queue.Schedule) (*queue.Schedule, error) {
	c.apply(&app)
	if err := app.Validate(); err != nil {
		return nil, err
	}
	return &app, c.provisionDestinations(app)
}

// provisionDestinations makes the destinations' schedules of the one beside them.
func (c *RetryConfig) provisionDestinations(beside queue.Schedule) error {
	seen := make(map[string]bool)
	for i, d := range c.Destinations {
		if d == nil || len(d.Domains) == 0 {
			return fmt.Errorf("destination %d: domains are required", i+1)
		}
		set, schedule := new(mailaddr.Set), beside
		for _, domain := range d.Domains {
			if strings.Contains(domain, "@") {
				return fmt.Errorf("destination %d: %s is not a domain", i+1, domain)
			}
			if err := set.Add(domain); err != nil {
				return fmt.Errorf("destination %d: %w", i+1, err)
			}
			name := strings.ToLower(domain)
			if seen[name] {
				return fmt.Errorf("destination %s is specified twice", domain)
			}
			seen[name] = true
		}
		if len(d.Retry) == 0 && d.Expire == 0 && d.Warn == 0 {
			return fmt.Errorf("destination %s: retry, expire or warn is required, as in: destination %[1]s { retry 1h }", d.Domains[0])
		}
		d.apply(&schedule)
		if err := schedule.Validate(); err != nil {
			return fmt.Errorf("destination %s: %w", d.Domains[0], err)
		}
		c.destinations = append(c.destinations, destinationSchedule{set, &schedule})
	}
	return nil
}

// of returns the schedule of the recipient's domain, or nil if there is none for it.
func (c *RetryConfig) of(r *queue.Recipient) *queue.Schedule {
	if len(c.destinations) == 0 {
		return nil
	}
	a, err := mailaddr.Parse(r.Complete(), true)
	if err != nil {
		return nil
	}
	for _, d := range c.destinations {
		if d.domains.Has(a) {
			return d.schedule
		}
	}
	return nil
}

// apply sets what is set.
func (c *RetryTimes) apply(s *queue.Schedule) {
	if len(c.Retry) > 0 {
		s.Retry = nil
		for _, d := range c.Retry {
			s.Retry = append(s.Retry, time.Duration(d))
		}
	}
	if c.Expire != 0 {
		s.Expire = time.Duration(c.Expire)
	}
	if c.Warn != 0 {
		s.Warn = max(0, time.Duration(c.Warn))
	}
}

// queueIDs are written without letters and digits that look alike.
var queueIDs = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// newQueueID returns an id that sorts by time: 40 bits of milliseconds (35 years
// a turn) and 40 random bits, in 16 characters.
func newQueueID() string {
	var b [10]byte
	ms := uint64(time.Now().UnixMilli())
	for i := range 5 {
		b[i] = byte(ms >> (32 - 8*i))
	}
	_, _ = rand.Read(b[5:])
	return queueIDs.EncodeToString(b[:])
}
