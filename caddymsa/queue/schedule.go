package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

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
		return fmt.Errorf("expire: is %v, so that delivery would be tried for ever or not at all; set an age at which to give up, such as 5d", s.Expire)
	}
	if s.Workers < 1 {
		return fmt.Errorf("workers: is %d; at least one is required to deliver anything", s.Workers)
	}
	return nil
}

// jitter is the part of a wait that may be added to it, so that what failed
// together is not tried together for ever.
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

func randomBelow(n int64) int64 { return rand.Int64N(n) }
