package caddymsa

import (
	"crypto/rand"
	"encoding/base32"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// QueueConfig says how often delivery is tried and when it is given up.
type QueueConfig struct {
	// Retry are the waits after the first, second ... failed attempt; the last
	// repeats. Default 1m, 5m, 15m, 1h, 4h.
	Retry []caddy.Duration `json:"retry,omitempty"`
	// Expire is the age at which a message that could not be delivered is given
	// up and its sender told. Default 5d.
	Expire caddy.Duration `json:"expire,omitempty"`
	// Workers is how many delivery attempts run at once. Default 16.
	Workers int `json:"workers,omitempty"`

	schedule queue.Schedule // the same, as the queue wants it
}

// provision sets the defaults and checks what was set.
func (q *QueueConfig) provision() error {
	if len(q.Retry) == 0 {
		for _, d := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour} {
			q.Retry = append(q.Retry, caddy.Duration(d))
		}
	}
	if q.Expire == 0 {
		q.Expire = caddy.Duration(5 * 24 * time.Hour)
	}
	if q.Workers == 0 {
		q.Workers = 16
	}
	q.schedule = queue.Schedule{Expire: time.Duration(q.Expire), Workers: q.Workers}
	for _, d := range q.Retry {
		q.schedule.Retry = append(q.schedule.Retry, time.Duration(d))
	}
	return q.schedule.Validate()
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
