package tableauth

import (
	"sync"
	"time"
)

// Complaints bounds the lines of the log about users whose data is of no use: strangers can have it read as often as they like. The
// zero value is ready for use.
type Complaints struct {
	// Now is time.Now if nil.
	Now func() time.Time

	mu   sync.Mutex
	last map[string]time.Time
}

// There is a line about the same in so long, and about no more than so many.
const (
	complainEvery = time.Hour
	maxComplaints = 1000
)

// Due tells whether there is to be a line now about a user, or whatever about names.
func (c *Complaints) Due(about string) bool {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	at := now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[about]; ok && at.Sub(last) < complainEvery {
		return false
	}
	if len(c.last) >= maxComplaints {
		for other, last := range c.last {
			if at.Sub(last) >= complainEvery {
				delete(c.last, other)
			}
		}
		if len(c.last) >= maxComplaints {
			return false
		}
	}
	if c.last == nil {
		c.last = make(map[string]time.Time)
	}
	c.last[about] = at
	return true
}
