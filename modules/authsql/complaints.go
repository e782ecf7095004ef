package authsql

import (
	"sync"
	"time"
)

// complaints are lines of the log about users whose rows are of no use: strangers can have them read as often as they like.
type complaints struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]time.Time
}

// A user has a line in so long, and no more than so many users have one.
const (
	complainEvery = time.Hour
	maxComplaints = 1000
)

// due tells whether there is to be a line about a user now.
func (c *complaints) due(name string) bool {
	at := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.last[name]; ok && at.Sub(last) < complainEvery {
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
	c.last[name] = at
	return true
}
