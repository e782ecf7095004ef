package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// lists is a sink for mailing lists, of which some are full and some are unknown.
type lists map[string]error

// Deliver says of each recipient by itself what became of it.
func (l lists) Deliver(ctx context.Context, d *queue.Delivery) error {
	message, err := d.Open()
	if err != nil {
		return err // for all recipients: tried again
	}
	defer message.Close()
	for _, r := range d.Recipients {
		trouble, known := l[r.Address]
		if !known {
			trouble = queue.Permanent(errors.New("no such list")) // told to the sender, never tried again
		}
		d.Report(r, trouble)
	}
	return ctx.Err()
}

type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

func ExampleSink() {
	sink := lists{"news@example.org": nil, "talk@example.org": errors.New("the list is full")}
	recipients := []*queue.Recipient{{Address: "news@example.org"}, {Address: "talk@example.org"}, {Address: "nobody@example.org"}}
	d := queue.NewDelivery(&queue.Entry{ID: "Q1", Sender: "alice@example.org"}, recipients, func() (io.ReadSeekCloser, error) {
		return memory{strings.NewReader("Subject: hello\r\n\r\n")}, nil
	})
	err := sink.Deliver(context.Background(), d)
	for _, r := range recipients {
		fmt.Println(r.Address, d.Outcome(r, err))
	}
	// Output:
	// news@example.org <nil>
	// talk@example.org the list is full
	// nobody@example.org no such list
}
