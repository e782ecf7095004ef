package spoolfile

import (
	"fmt"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A message to a thousand recipients that is tried again and again costs little more each time: its
// history has places and not addresses, and recipients that fare alike are stored together.
func TestGrowth(t *testing.T) {
	a := testAccept("Q001")
	a.Entry.Recipients = nil
	for i := range 1000 {
		a.Entry.Recipients = append(a.Entry.Recipients, queue.Recipient{Address: fmt.Sprintf("recipient-number-%d@example.net", i)})
	}
	a.Jobs = []queue.Job{queue.NewJob(a.Entry)}
	j := &a.Jobs[0]
	for i := range j.Recipients {
		j.Recipients[i].Fate = queue.Fate{Error: "451 4.2.0 Mailbox busy, come back later", Code: 451, Status: "4.2.0", RemoteMTA: "mx.example.net"}
	}
	for range 20 {
		j.History = append(j.History, queue.Event{Time: noon, What: "deferred", Route: "relay", Text: "451 4.2.0 Mailbox busy, come back later", To: j.Indexes()})
	}
	b, err := encodeJob(j, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 8<<10 {
		t.Errorf("an attempt writes %d octets", len(b))
	}
	t.Logf("an attempt at 1000 recipients writes %d octets", len(b))
}
