package queue

import (
	"testing"
	"time"
)

func TestScheduleValidate(t *testing.T) {
	good := Schedule{Retry: []time.Duration{time.Minute}, Expire: time.Hour}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Schedule){
		"retry: at least one wait is required, such as 5m":                                                                    func(s *Schedule) { s.Retry = nil },
		"retry: wait 2 is -1s; each must be longer than nothing":                                                              func(s *Schedule) { s.Retry = []time.Duration{1, -time.Second} },
		"expire: is 0s, so that delivery would be tried forever or not at all; set an age at which to give up, such as 5d":    func(s *Schedule) { s.Expire = 0 },
		"expire: is -1m0s, so that delivery would be tried forever or not at all; set an age at which to give up, such as 5d": func(s *Schedule) { s.Expire = -time.Minute },
	} {
		s := good
		change(&s)
		if err := s.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, wanted %s", err, want)
		}
	}
}

func TestScheduleNext(t *testing.T) {
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	s := Schedule{Retry: []time.Duration{10 * time.Minute, time.Hour}}
	for _, c := range []struct {
		name     string
		limit    time.Duration
		attempts int
		random   func(int64) int64
		want     time.Duration
	}{
		{"the first", 24 * time.Hour, 1, least, 10 * time.Minute},
		{"the second", 24 * time.Hour, 2, least, time.Hour},
		{"the last repeats", 24 * time.Hour, 99, least, time.Hour},
		{"a tenth more", 24 * time.Hour, 2, most, 66 * time.Minute},
		{"the end", 30 * time.Minute, 2, least, 30 * time.Minute},
		{"beyond the end", -time.Minute, 1, least, 10 * time.Minute},
		{"none counted", 24 * time.Hour, 0, least, 10 * time.Minute},
	} {
		if got := s.next(noon, noon.Add(c.limit), c.attempts, c.random).Sub(noon); got != c.want {
			t.Errorf("%s: %v, wanted %v", c.name, got, c.want)
		}
	}
	if got := (Schedule{}).next(noon, noon.Add(time.Hour), 1, least).Sub(noon); got != time.Minute {
		t.Errorf("no schedule: %v", got)
	}
}

func least(int64) int64  { return 0 }
func most(n int64) int64 { return n - 1 }
