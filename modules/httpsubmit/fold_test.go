package httpsubmit

import (
	"fmt"
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
	var list []string
	for i := range 16 {
		list = append(list, fmt.Sprintf(`{"address":"a%d@example.org","name":"%s"}`, i, strings.TrimSpace(strings.Repeat("é ", 6000))))
	}
	document := `{"from":"alice@example.org","to":"bob@example.net","text":"x","reply_to":[` + strings.Join(list, ",") + `]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := ask(t, h, "POST", "/send/", document, asJSON)
	runtime.ReadMemStats(&after)
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; w.Code != 202 || used > 100 {
		t.Errorf("%d, %d MiB were used of %d KiB", w.Code, used, len(document)>>10)
	}
}
