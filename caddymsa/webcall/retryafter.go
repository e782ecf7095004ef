package webcall

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter reads the header of that name in an answer (RFC 9110 section 10.2.3).
func RetryAfter(h http.Header, now time.Time) (after time.Duration, asked bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true //nolint:gosec // 31 bits
	}
	at, err := http.ParseTime(text)
	return max(0, at.Sub(now)), err == nil
}
