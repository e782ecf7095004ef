package load

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Phase is a part of a session whose time is taken.
type Phase int

// The phases. With implicit TLS, TLS is from dialling to the handshake's end.
const (
	Connect Phase = iota // dialling to 220
	TLS                  // EHLO, STARTTLS, handshake, EHLO
	Auth                 // AUTH to 235
	Data                 // first octet of the text to 250
	Message              // MAIL to 250
	Total                // dialling to 221
	nPhases
)

func (p Phase) String() string {
	return [...]string{"connect", "tls", "auth", "data", "message", "total"}[p]
}

// Result is what came of a run.
type Result struct {
	Sessions int            // ended with 221
	Messages int            // answered 250
	Bytes    int64          // of these messages
	Elapsed  time.Duration  // from the warm-up's end to the last of them
	Failed   map[string]int // sessions, by stage and reply: "auth: 535 5.7.8"

	// With those that ended in the warm-up, for what is counted elsewhere.
	AllSessions, AllMessages int

	times [nPhases][]time.Duration // sorted
}

// SessionsPerSecond is the rate of whole sessions.
func (r *Result) SessionsPerSecond() float64 { return r.per(float64(r.Sessions)) }

// MessagesPerSecond is the rate of messages.
func (r *Result) MessagesPerSecond() float64 { return r.per(float64(r.Messages)) }

// MBPerSecond is the rate of messages' octets, in millions.
func (r *Result) MBPerSecond() float64 { return r.per(float64(r.Bytes) / 1e6) }

func (r *Result) per(n float64) float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return n / r.Elapsed.Seconds()
}

// Percentile is the time within which that share (0 to 1) of the phase's
// occurrences ended; 0 if there were none.
func (r *Result) Percentile(p Phase, share float64) time.Duration {
	t := r.times[p]
	if len(t) == 0 {
		return 0
	}
	return t[min(int(share*float64(len(t))), len(t)-1)]
}

// Failures is the number of failed sessions.
func (r *Result) Failures() (n int) {
	for _, k := range r.Failed {
		n += k
	}
	return n
}

// Print writes the result for people.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%d sessions (%.1f/s), %d messages (%.1f/s, %.1f MB/s) in %.1f s, %d sessions failed\n",
		r.Sessions, r.SessionsPerSecond(), r.Messages, r.MessagesPerSecond(), r.MBPerSecond(), r.Elapsed.Seconds(), r.Failures())
	for _, f := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(w, "  failed %6d  %s\n", r.Failed[f], f)
	}
	fmt.Fprintf(w, "%10s %9s %9s %9s %9s %9s ms\n", "", "p50", "p90", "p99", "p99.9", "max")
	for p := range nPhases {
		if len(r.times[p]) == 0 {
			continue
		}
		fmt.Fprintf(w, "%10s", p)
		for _, share := range []float64{.5, .9, .99, .999, 1} {
			fmt.Fprintf(w, " %9.2f", float64(r.Percentile(p, share).Microseconds())/1e3)
		}
		fmt.Fprintln(w)
	}
}

// tally is one worker's share of the result.
type tally struct {
	Result
	from time.Time // the warm-up's end
	last time.Time
}

func (t *tally) observe(p Phase, began time.Time) {
	now := time.Now()
	if now.Before(t.from) {
		return
	}
	t.times[p] = append(t.times[p], now.Sub(began))
}

func (t *tally) message(size int) {
	t.AllMessages++
	if now := time.Now(); !now.Before(t.from) {
		t.Messages++
		t.Bytes += int64(size)
		t.last = now
	}
}

func (t *tally) session() {
	t.AllSessions++
	if now := time.Now(); !now.Before(t.from) {
		t.Sessions++
		t.last = now
	}
}

func (t *tally) failure(err error) {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{"other", err.Error()}
	}
	if t.Failed == nil {
		t.Failed = make(map[string]int)
	}
	t.Failed[f.Error()]++
}

func merge(tallies []tally) *Result {
	sum := &Result{Failed: make(map[string]int)}
	var last time.Time
	for i := range tallies {
		t := &tallies[i]
		sum.Sessions += t.Sessions
		sum.Messages += t.Messages
		sum.Bytes += t.Bytes
		sum.AllSessions += t.AllSessions
		sum.AllMessages += t.AllMessages
		for f, n := range t.Failed {
			sum.Failed[f] += n
		}
		for p := range t.times {
			sum.times[p] = append(sum.times[p], t.times[p]...)
		}
		if t.last.After(last) {
			last = t.last
		}
	}
	for p := range sum.times {
		slices.Sort(sum.times[p])
	}
	if !last.IsZero() {
		sum.Elapsed = last.Sub(tallies[0].from)
	}
	return sum
}
