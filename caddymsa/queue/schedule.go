package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Schedule is when to try again.
type Schedule struct {
	// Retry are the waits after the first, second ... failure; the last repeats: with 1m, 5m, 1h a
	// message is tried at 0:00, 0:01, 0:06, 1:06, 2:06 and so on, each a tenth later at most.
	Retry []time.Duration
	// Expire is the age at which an entry's pending recipients fail.
	Expire time.Duration
	// Warn is the age at which the sender is told of a delay (RFC 3461 section 4.1). Zero: never.
	Warn time.Duration
	// Keep is how long a message stays as a dead letter when it failed for good. Zero: not at all.
	Keep time.Duration
}

// Validate refuses a schedule that cannot work or never ends.
func (s Schedule) Validate() error {
	if len(s.Retry) == 0 {
		return errors.New("retry: at least one wait is required, such as 5m")
	}
	for i, d := range s.Retry {
		if d <= 0 {
			return fmt.Errorf("retry: wait %d is %v; each must be longer than nothing", i+1, d)
		}
	}
	if s.Expire <= 0 {
		return fmt.Errorf("expire: is %v, so that delivery would be tried forever or not at all; set an age at which to give up, such as 5d", s.Expire)
	}
	return nil
}

// Validate refuses settings that cannot work.
func (s Settings) Validate() error {
	if s.Workers < 1 {
		return fmt.Errorf("workers: is %d; at least one is required to deliver anything", s.Workers)
	}
	if s.FirstProbe <= 0 || s.LastProbe < s.FirstProbe {
		return fmt.Errorf("probe: is %v %v; the first wait and the longest are expected, such as 15s 5m", s.FirstProbe, s.LastProbe)
	}
	return nil
}

// jitter is the part of a wait that may be added to it, so that what failed
// together is not tried together forever.
const jitter = 10 // a tenth

// next is when to try again after so many attempts: never after limit, the
// moment at which the entry expires, unless that has passed.
func (s Schedule) next(now, limit time.Time, attempts int, random func(int64) int64) time.Time {
	wait := time.Minute
	if n := len(s.Retry); n > 0 {
		wait = s.Retry[min(max(attempts, 1), n)-1]
	}
	next := now.Add(wait + time.Duration(random(int64(wait/jitter)+1)))
	if next.After(limit) && limit.After(now) {
		return limit
	}
	return next
}

// same tells whether two schedules are one, so that recipients can go together.
func (s *Schedule) same(other *Schedule) bool {
	return s == other || s != nil && other != nil && fmt.Sprint(*s) == fmt.Sprint(*other)
}

func randomBelow(n int64) int64 { return rand.Int64N(n) }

// sameStamp tells whether two stamps are of the same routes.
func sameStamp(a, b string) bool {
	_, x, _ := strings.Cut(a, "-")
	_, y, _ := strings.Cut(b, "-")
	return x != "" && x == y
}

// newerStamp tells whether a was routed by a configuration that is newer than b, with other routes.
func newerStamp(a, b string) bool {
	x, _, _ := strings.Cut(a, "-")
	y, _, _ := strings.Cut(b, "-")
	return !sameStamp(a, b) && (len(x) > len(y) || len(x) == len(y) && x > y)
}
