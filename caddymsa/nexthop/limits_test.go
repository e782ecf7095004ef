package nexthop_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func to60(domains ...string) *queue.Delivery {
	var all []string
	for i := range 60 {
		all = append(all, fmt.Sprintf("r%d@%s", i, domains[i%len(domains)]))
	}
	return msatest.NewDelivery([]byte(text), all...)
}

// sizes are how many recipients each transaction had that came to a message.
func sizes(h *hoptest.Hop) (all []int) {
	n := 0
	for _, line := range h.Said("") {
		switch line[:4] {
		case "MAIL":
			n = 0
		case "RCPT":
			n++
		case "DATA":
			all = append(all, n)
		}
	}
	return all
}

// A hop's limit is met by as many transactions as it takes, in one attempt, on one connection.
func TestRecipientLimits(t *testing.T) {
	limited := func(at, reply string, limit int64) func(*hoptest.Hop) {
		var rcpts atomic.Int64
		return func(h *hoptest.Hop) {
			h.Reply = func(line string) string {
				switch {
				case strings.HasPrefix(line, "MAIL"):
					rcpts.Store(0)
				case strings.HasPrefix(line, "RCPT"):
					if n := rcpts.Add(1); n > limit && at == "RCPT" {
						return reply
					}
				case line == "DATA" && at == "DATA" && rcpts.Load() > limit:
					return reply
				}
				return ""
			}
		}
	}
	announced := func(limits string) func(*hoptest.Hop) {
		return func(h *hoptest.Hop) { h.Extensions = append([]string{"Limits " + limits}, h.Extensions...) }
	}
	slow := func(set func(*hoptest.Hop)) func(*hoptest.Hop) {
		return func(h *hoptest.Hop) { set(h); h.Extensions = []string{"8BITMIME"} }
	}
	many := func(n, times int) []int { return slices.Repeat([]int{n}, times) }
	for name, c := range map[string]struct {
		hop         func(*hoptest.Hop)
		options     func(*nexthop.Options)
		domains     []string
		messages    []int // recipients of each transaction that DATA was said in
		connections int
	}{
		"announced":          {announced("RCPTMAX=25"), nil, nil, []int{25, 25, 10}, 1},
		"configured":         {nil, func(o *nexthop.Options) { o.Recipients = 40 }, nil, []int{40, 20}, 1},
		"452":                {limited("RCPT", "452 4.5.3 too many", 25), nil, nil, []int{60, 25, 10}, 1},
		"452 without a code": {limited("RCPT", "452", 25), nil, nil, []int{60, 25, 10}, 1},
		"announced too much": {func(h *hoptest.Hop) {
			announced("RCPTMAX=50")(h)
			limited("RCPT", "452 4.5.3 too many", 25)(h)
		}, nil, nil, []int{50, 25, 10}, 1},
		"announced too much, 554 to DATA": {func(h *hoptest.Hop) {
			announced("RCPTMAX=50")(h)
			limited("DATA", "554 5.5.0 too many", 25)(h)
		}, nil, nil, []int{50, 25, 25, 10}, 1},
		"421":                     {limited("RCPT", "421 4.5.3 enough", 25), nil, nil, []int{25, 25, 10}, 2},
		"hanging up":              {limited("RCPT", "close", 25), nil, nil, []int{25, 25, 10}, 2},
		"hanging up, one each":    {slow(limited("RCPT", "close", 25)), nil, nil, []int{25, 25, 10}, 2},
		"in words":                {limited("RCPT", "550 Too many recipients", 25), nil, nil, []int{60, 25, 10}, 1},
		"in words with a code":    {limited("RCPT", "550 5.7.1 This message has too many recipients", 25), nil, nil, []int{60, 25, 10}, 1},
		"552":                     {limited("RCPT", "552 too many", 25), nil, nil, []int{60, 25, 10}, 1},
		"count exceeds":           {limited("RCPT", "550 5.7.1 Recipient count exceeds 25", 25), nil, nil, []int{60, 25, 10}, 1},
		"limit exceeded":          {limited("RCPT", "554 Transaction failed: recipient limit exceeded", 25), nil, nil, []int{60, 25, 10}, 1},
		"number of recipients":    {limited("RCPT", "451 4.7.1 Maximum number of recipients reached", 25), nil, nil, []int{60, 25, 10}, 1},
		"550 that says so":        {limited("RCPT", "550 5.5.3 too many", 25), nil, nil, []int{60, 25, 10}, 1},
		"452, one at a time":      {slow(limited("RCPT", "452 4.5.3 too many", 25)), nil, nil, []int{26, 25, 10}, 1},
		"554 to DATA":             {limited("DATA", "554 too many", 25), nil, nil, []int{60, 30, 15, 15, 15, 15}, 1},
		"452 to DATA":             {limited("DATA", "452 4.5.3 too many", 30), nil, nil, []int{60, 30, 30}, 1},
		"421 to DATA":             {limited("DATA", "421 4.5.3 too many", 20), nil, nil, []int{60, 30, 15, 15, 15, 15}, 3},
		"hanging up at DATA":      {limited("DATA", "close", 30), nil, nil, []int{60, 30, 30}, 2},
		"554 to DATA, one each":   {limited("DATA", "554 too many", 1), nil, nil, append([]int{60, 30, 15, 7, 3}, many(1, 60)...), 1},
		"transactions":            {announced("MAILMAX=2 RCPTMAX=20"), nil, nil, []int{20, 20, 20}, 2},
		"domains":                 {announced("RCPTDOMAINMAX=2"), nil, []string{"a.example", "b.example", "c.example"}, []int{40, 20}, 1},
		"domain of several cases": {announced("RCPTDOMAINMAX=1"), nil, []string{"a.example", "A.example"}, []int{60}, 1},
		"nonsense":                {announced("RCPTMAX=0 MAILMAX=-1 RCPTDOMAINMAX=x X"), nil, nil, []int{60}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, c.hop)
			if c.domains == nil {
				c.domains = []string{"example.org"}
			}
			for i, err := range outcomes(t, to(h, c.options), to60(c.domains...)) {
				if err != nil {
					t.Fatalf("recipient %d: %v", i, err)
				}
			}
			if have := sizes(h); !slices.Equal(have, c.messages) || h.Connections() != c.connections {
				t.Errorf("%v on %d connections", have, h.Connections())
			}
		})
	}
}

// A hop may take one domain at a time without a word in EHLO, and say no more than that.
func TestOneDomainEach(t *testing.T) {
	var first atomic.Pointer[string]
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.Reply = func(line string) string {
			_, domain, ok := strings.Cut(line, "@")
			switch {
			case strings.HasPrefix(line, "MAIL"):
				first.Store(nil)
			case strings.HasPrefix(line, "RCPT") && ok && !first.CompareAndSwap(nil, &domain) && *first.Load() != domain:
				return "451-4.3.0 Multiple destination domains per transaction is unsupported.  Please try\r\n451 4.3.0 again."
			}
			return ""
		}
	})
	for i, err := range outcomes(t, to(h, nil), to60("a.example", "b.example", "c.example", "c.example")) {
		if err != nil {
			t.Fatalf("recipient %d: %v", i, err)
		}
	}
	if have := sizes(h); !slices.Equal(have, []int{60, 15, 30}) || h.Connections() != 1 {
		t.Errorf("%v on %d connections", have, h.Connections())
	}
}

// Of recipients that a hop does not take, those are tried again whom another reason than the number may have
// kept out, but only as long as that comes to something.
func TestNotALimit(t *testing.T) {
	d := msatest.NewDelivery([]byte(text), "a@example.org", "b@example.org", "c@example.org")
	h := hoptest.New(t, hoptest.On("RCPT TO:<a", "452 full", "RCPT TO:<c", "452 4.2.2 full"))
	out := outcomes(t, to(h, nil), d)
	wantReply(t, out[0], 452, smtp.EnhancedCode{})
	wantReply(t, out[2], 452, smtp.EnhancedCode{4, 2, 2})
	if out[1] != nil || len(h.Said("RCPT TO:<a")) != 3 || h.Connections() != 2 || len(h.Said("RCPT TO:<c")) != 1 || len(h.Messages()) != 1 {
		t.Errorf("%v, %q", out, h.Said("RCPT"))
	}
	// DATA that is refused because of one recipient leaves the others theirs.
	var poison atomic.Bool
	h = hoptest.New(t, func(h *hoptest.Hop) {
		h.Reply = func(line string) string {
			switch {
			case strings.HasPrefix(line, "MAIL"):
				poison.Store(false)
			case strings.HasPrefix(line, "RCPT TO:<a"):
				poison.Store(true)
			case line == "DATA" && poison.Load():
				return "554 5.7.1 not that one"
			}
			return ""
		}
	})
	out = outcomes(t, to(h, nil), msatest.NewDelivery([]byte(text), "a@example.org", "b@example.org", "c@example.org"))
	wantReply(t, out[0], 554, smtp.EnhancedCode{5, 7, 1})
	if out[1] != nil || out[2] != nil {
		t.Error(out)
	}
	// At the end of data 5yz is final.
	h = hoptest.New(t, hoptest.On(".", "554 5.7.1 spam"))
	out = outcomes(t, to(h, nil), msatest.NewDelivery([]byte(text), "a@example.org", "b@example.org"))
	wantReply(t, out[0], 554, smtp.EnhancedCode{5, 7, 1})
	if len(h.Said("DATA")) != 1 {
		t.Errorf("%q", h.Said(""))
	}
}

// A recipient given twice is sent once, and asks for what either asked for.
func TestTwice(t *testing.T) {
	for _, lmtp := range []bool{false, true} {
		h := hoptest.New(t, func(h *hoptest.Hop) { h.LMTP = lmtp })
		d := msatest.NewDelivery([]byte(text), "a@example.org", "A@example.org", "a@Example.org", "a@example.org")
		d.Recipients[0].Notify, d.Recipients[2].Notify, d.Recipients[3].ORCPT = []string{"never"}, []string{"SUCCESS"}, "rfc822;x@example.org"
		for _, err := range outcomes(t, to(h, nil), d) {
			if err != nil {
				t.Error(err)
			}
		}
		want := []string{"RCPT TO:<a@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x@example.org", "RCPT TO:<A@example.org>"}
		if have := h.Said("RCPT"); !slices.Equal(have, want) {
			t.Errorf("%q", have)
		}
	}
}

// A hop that ends the connection after each message gets the next on another.
func TestOneMessageEach(t *testing.T) {
	var after atomic.Int64
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.Extensions = append([]string{"LIMITS RCPTMAX=20"}, h.Extensions...)
		h.Reply = func(line string) string {
			if strings.HasPrefix(line, "MAIL") && after.Add(1)%2 == 0 {
				return "421 4.7.0 one is enough"
			}
			return ""
		}
	})
	for _, err := range outcomes(t, to(h, nil), to60("example.org")) {
		if err != nil {
			t.Error(err)
		}
	}
	if len(h.Messages()) != 3 || h.Connections() != 3 {
		t.Errorf("%d messages on %d connections", len(h.Messages()), h.Connections())
	}
}

// Commands and replies of very many recipients do not wait for each other.
func TestManyRecipients(t *testing.T) {
	var all []string
	for i := range 5000 {
		all = append(all, fmt.Sprintf("recipient-%04d@%s.example.org", i, strings.Repeat("x", 60)))
	}
	h := hoptest.New(t, hoptest.On("RCPT", "250-"+strings.Repeat("y", 400)+"\r\n250 "+strings.Repeat("z", 400)))
	d := msatest.NewDelivery([]byte(text), all...)
	for _, err := range outcomes(t, to(h, nil), d) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.Said("RCPT")); n != len(all) || len(h.Messages()) != 1 {
		t.Errorf("%d recipients in %d messages", n, len(h.Messages()))
	}
}
