package httpsubmit

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

func TestFold(t *testing.T) {
	long, word := strings.Repeat("x", 200), strings.Repeat("w", 70)
	for value, want := range map[string]string{
		"a b":                          "X-Name: a b\r\n",
		strings.Repeat("a ", 40) + "a": "X-Name: " + strings.Repeat("a ", 33) + "a\r\n" + strings.Repeat(" a", 7) + "\r\n",
		long:                           "X-Name: " + long + "\r\n",
		"a " + long + " b":             "X-Name: a\r\n " + long + "\r\n b\r\n",
		word + "  " + word:             "X-Name: " + word + "\r\n  " + word + "\r\n",
	} {
		got := string(fold("x-name", value))
		if got != want {
			t.Errorf("%q", got)
		}
		if h, err := message.ReadHeader(strings.NewReader(got)); err != nil || len(h) != 1 || h[0].Value() != value {
			t.Errorf("%q is read as %q, %v", got, h, err)
		}
	}
}

// What a document costs grows with its length, not with its square: once it was minutes for two megabytes of names.
func TestLongFieldCosts(t *testing.T) {
	f, h := serve(t)
	f.settings.MessageSize = 10 << 20
	document := withNames(16)
	w, used := costOf(t, h, "/send/", document, asJSON)
	if w.Code != 202 || used > 100<<20 {
		t.Errorf("%d, %d MiB were used of %d KiB", w.Code, used>>20, len(document)>>10)
	}
}

// A header that the server will refuse is not made, nor held whole, first.
func TestLargeHeader(t *testing.T) {
	for _, limit := range []int64{0, 100 << 10} {
		f, h := serve(t)
		f.header = limit
		whole := "From: alice@example.org\r\nTo: bob@example.net\r\nX-Large: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"
		for target, body := range map[string]string{"/send/": withNames(64), "/send/?envelope=header": whole} {
			headers := asJSON
			if body == whole {
				headers = nil
			}
			w, used := costOf(t, h, target, body, headers)
			switch {
			case limit == 0:
				if w.Code != 202 {
					t.Errorf("%s: %d %s", target, w.Code, w.Body)
				}
			case w.Code != 422 || saying(t, w).Detail != "Message header is too large" || used > 50<<20:
				t.Errorf("%s: %d %s, %d MiB were used", target, w.Code, w.Body, used>>20)
			}
		}
	}
}

// withNames is a document with 18,000 octets of each of so many names.
func withNames(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"address":"a%d@example.org","name":"%s"}`, i, strings.TrimSpace(strings.Repeat("é ", 6000))))
	}
	return `{"from":"alice@example.org","to":"bob@example.net","text":"x","reply_to":[` + strings.Join(list, ",") + `]}`
}

// costOf makes a request and tells how many octets were allocated for it.
func costOf(t *testing.T, h *Submit, target, body string, headers map[string]string) (*httptest.ResponseRecorder, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := ask(t, h, "POST", target, body, headers)
	runtime.ReadMemStats(&after)
	return w, after.TotalAlloc - before.TotalAlloc
}
