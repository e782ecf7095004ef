package webcall

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]struct {
		after time.Duration
		asked bool
	}{
		"": {}, "soon": {}, "-1": {}, "1.5": {}, "99999999999999": {},
		"0": {0, true}, " 120 ": {2 * time.Minute, true}, "Tue, 01 Dec 2026 12:01:00 GMT": {time.Minute, true}, "Tue, 01 Dec 2026 11:00:00 GMT": {0, true},
	} {
		if after, asked := RetryAfter(http.Header{"Retry-After": {text}}, now); after != want.after || asked != want.asked {
			t.Errorf("%q: %v, %v", text, after, asked)
		}
	}
}
