package adminapi

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Times beyond these are as good as these: a spool may reckon in nanoseconds, which do not reach everywhere.
var earliest, latest = time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// ParseMoment reads a time, a day here, or how long ago it was.
func ParseMoment(text string, now time.Time) (at time.Time, err error) {
	at, err = time.Parse(time.RFC3339, strings.Replace(strings.ToUpper(text), " ", "+", 1)) // a URL that has + as it is means a blank
	if err != nil {
		at, err = time.ParseInLocation(time.DateOnly, text, time.Local)
	}
	if err != nil {
		age, notAge := conf.ParseDuration(text)
		if notAge != nil || age < 0 {
			return at, fmt.Errorf("%q is neither a time (2026-11-29T08:00:00Z or 2026-11-29) nor how long ago it was (for example 30m or 2d)", text)
		}
		at = now.Add(-age)
	}
	switch {
	case at.Before(earliest):
		at = earliest
	case at.After(latest):
		at = latest
	}
	return at, nil
}
