package webcall

import (
	"strings"
	"testing"
	"time"
)

// The example of the specification's libraries.
func TestWebhookHeader(t *testing.T) {
	key, err := ParseWebhookKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := WebhookHeader("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`), key, key)
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := h.Get("webhook-signature"); got != want+" "+want {
		t.Error(got)
	}
	if h.Get("webhook-id") != "msg_p5jXN8AQM9LWM0D4loKWxJek" || h.Get("webhook-timestamp") != "1614265330" {
		t.Error(h)
	}
	if h := WebhookHeader("x", time.Unix(1, 0), nil); len(h) != 2 {
		t.Error(h)
	}
}

func TestParseWebhookKey(t *testing.T) {
	for _, bad := range []string{"", "whsec_", "whsec_äöü", "whsec_c2hvcnQ=", "whsec_" + strings.Repeat("AAAA", 22), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"} {
		if _, err := ParseWebhookKey(bad); err == nil || len(bad) > 8 && strings.Contains(err.Error(), bad[6:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAA==", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAA"} {
		if _, err := ParseWebhookKey(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
