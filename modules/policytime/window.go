package policytime

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// window is a time of day on some days of the week. One whose end is not after its start lasts
// into the next day.
type window struct {
	days       [7]bool // the day it begins on
	start, end int     // minutes of the day; end up to 24 h
}

// minutes of a day.
const day = 24 * 60

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseWindow reads "mon-fri 08:00-18:00", "sat,sun 10:00-14:00", "08:00-18:00" and "mon-fri".
func parseWindow(s string) (w window, err error) {
	words := strings.Fields(strings.ToLower(s))
	if len(words) == 0 || len(words) > 2 {
		return w, errors.New("a window is days, a time or both, as in mon-fri 08:00-18:00")
	}
	days, times := "", ""
	for _, word := range words {
		if word[0] >= '0' && word[0] <= '9' {
			if times != "" {
				return w, errors.New("a window has one time")
			}
			times = word
		} else {
			if days != "" || times != "" {
				return w, errors.New("a window has its days first, and one time")
			}
			days = word
		}
	}
	if err := w.parseDays(days); err != nil {
		return w, err
	}
	w.end = day
	if times != "" {
		from, to, ok := strings.Cut(times, "-")
		if !ok {
			return w, fmt.Errorf("%q is not a range of times (for example 08:00-18:00)", times)
		}
		if w.start, err = clock(from); err != nil {
			return w, err
		}
		if w.end, err = clock(to); err != nil {
			return w, err
		}
		if w.start == day || w.start == w.end {
			return w, fmt.Errorf("%q is an empty range of times", times)
		}
	}
	return w, nil
}

func (w *window) parseDays(s string) error {
	if s == "" {
		for i := range w.days {
			w.days[i] = true
		}
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := weekday(from)
		if err != nil {
			return err
		}
		last := first
		if isRange {
			if last, err = weekday(to); err != nil {
				return err
			}
		}
		for i := first; ; i = (i + 1) % 7 {
			w.days[i] = true
			if i == last {
				break
			}
		}
	}
	return nil
}

func weekday(s string) (int, error) {
	for i, name := range weekdays {
		if s == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day; there are %s", s, strings.Join(weekdays, ", "))
}

// clock reads HH:MM, 24:00 included, as minutes.
func clock(s string) (int, error) {
	bad := fmt.Errorf("%q is not a time of day (for example 08:00)", s)
	if len(s) != 5 || s[2] != ':' {
		return 0, bad
	}
	n := 0
	for i, unit := range map[int]int{0: 600, 1: 60, 3: 10, 4: 1} {
		if s[i] < '0' || s[i] > '9' {
			return 0, bad
		}
		n += int(s[i]-'0') * unit
	}
	if s[3] > '5' || n > day {
		return 0, bad
	}
	return n, nil
}

// has tells whether the window is open at t, by the clock on the wall there.
func (w window) has(t time.Time) bool {
	now, today := t.Hour()*60+t.Minute(), int(t.Weekday())
	if w.end > w.start {
		return w.days[today] && now >= w.start && now < w.end
	}
	return w.days[today] && now >= w.start || w.days[(today+6)%7] && now < w.end
}
