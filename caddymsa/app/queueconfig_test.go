package app

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func hours(n ...int) (all []conf.Duration) {
	for _, n := range n {
		all = append(all, conf.Duration(time.Duration(n)*time.Hour))
	}
	return all
}

// The most specific schedule counts: a route's for the destination, the route's, the app's for the
// destination, the app's; what it does not say is as it is beside it.
func TestScheduleOf(t *testing.T) {
	app := new(QueueConfig)
	app.Retry = hours(1)
	app.Destinations = []*DestinationRetry{{Domains: []string{"*.slow.example", "slow.example"}, RetryTimes: RetryTimes{Retry: hours(2)}}}
	if err := app.provision(); err != nil {
		t.Fatal(err)
	}
	own := &RouteConfig{Queue: &RetryConfig{RetryTimes: RetryTimes{Retry: hours(3), Warn: -1},
		Destinations: []*DestinationRetry{{Domains: []string{"never.example"}, RetryTimes: RetryTimes{Expire: conf.Duration(time.Minute)}}, {Domains: []string{"*"}, RetryTimes: RetryTimes{Retry: hours(4)}}}}}
	var err error
	if own.schedule, err = own.Queue.schedule(app.schedule); err != nil {
		t.Fatal(err)
	}
	plain := new(RouteConfig)
	for _, tt := range []struct {
		route   *RouteConfig
		to      string
		retry   int // hours; 0: the app's
		expires time.Duration
	}{
		{plain, "a@example.org", 0, 0}, {plain, "a@SLOW.example", 2, 5 * 24 * time.Hour}, {plain, "a@x.slow.example", 2, 5 * 24 * time.Hour},
		{own, "a@slow.example", 4, 5 * 24 * time.Hour}, {own, "a@never.example", 3, time.Minute},
	} {
		s := tt.route.scheduleOf(&queue.Recipient{Address: tt.to}, app)
		switch {
		case tt.retry == 0:
			if s != nil {
				t.Errorf("%s: %+v", tt.to, s)
			}
		case s == nil || s.Retry[0] != time.Duration(tt.retry)*time.Hour || s.Expire != tt.expires || (s.Warn == 0) != (tt.route == own):
			t.Errorf("%s: %+v", tt.to, s)
		}
	}
	for want, d := range map[string]*DestinationRetry{
		"domains are required":            {},
		"a@example.org is not a domain":   {Domains: []string{"a@example.org"}},
		"bad character":                   {Domains: []string{"exa_mple..org"}},
		"destination example.org: retry:": {Domains: []string{"example.org"}, RetryTimes: RetryTimes{Retry: hours(-1)}},
		"retry, expire or warn is required, as in: destination example.org {": {Domains: []string{"example.org"}},
		"destination Example.org is specified twice":                          {Domains: []string{"example.org", "Example.org"}, RetryTimes: RetryTimes{Retry: hours(1)}},
	} {
		c := &QueueConfig{RetryConfig: RetryConfig{Destinations: []*DestinationRetry{d}}}
		if err := c.provision(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
