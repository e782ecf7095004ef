package app

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Waiting messages are looked at again where routes or times have changed, and not where nothing has.
func TestStampOfTimes(t *testing.T) {
	stamp := func(change func(*QueueConfig)) string {
		app := &App{Queue: new(QueueConfig)}
		change(app.Queue)
		if err := app.stampRoutes(time.Now()); err != nil {
			t.Fatal(err)
		}
		_, hash, _ := strings.Cut(app.stamp, "-")
		return hash
	}
	plain := stamp(func(*QueueConfig) {})
	if again := stamp(func(q *QueueConfig) { q.Workers = 7 }); again != plain {
		t.Errorf("%s and %s", plain, again)
	}
	for _, change := range []func(*QueueConfig){
		func(q *QueueConfig) { q.Expire = conf.Duration(time.Hour) },
		func(q *QueueConfig) { q.Warn = conf.Duration(time.Hour) },
		func(q *QueueConfig) {
			q.Destinations = []*DestinationRetry{{Domains: []string{"example.org"}, RetryTimes: RetryTimes{Expire: conf.Duration(time.Hour)}}}
		},
	} {
		if other := stamp(change); other == plain {
			t.Errorf("other times have the same stamp %s", plain)
		}
	}
}
