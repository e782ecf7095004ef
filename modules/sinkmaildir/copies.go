package sinkmaildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// atOnce is how many copies of one message are written at once: what takes the time is the disk's
// syncs, of which it makes several together.
const atOnce = 8

// perWorker is how many copies there are at least for each that are written at once.
const perWorker = 2

// oneCopy is a file to be written, and what became of it.
type oneCopy struct {
	recipients []*queue.Recipient // more than one if a mailbox was given twice
	dir        string             // below the base
	path       string
	name       string
	tried      bool
	err        error
}

// copies are the files that a delivery makes, each once.
func (m *Maildir) copies(d *queue.Delivery) (all []*oneCopy) {
	known := make(map[[2]string]*oneCopy, len(d.Recipients))
	for _, r := range d.Recipients {
		dir, err := m.path.Expand(placeholder.Of(d.Entry, r))
		if err != nil {
			all = append(all, &oneCopy{recipients: []*queue.Recipient{r}, tried: true, err: errAddress})
			continue
		}
		name := m.uniqueName(d.Entry, r)
		key := [2]string{dir, name}
		if c := known[key]; c != nil {
			c.recipients = append(c.recipients, r)
			continue
		}
		c := &oneCopy{recipients: []*queue.Recipient{r}, dir: dir, path: filepath.Join(m.base, dir), name: name}
		known[key] = c
		all = append(all, c)
	}
	return all
}

// store writes the copies, some at once. Those that were not tried when ctx ended stay so.
func (m *Maildir) store(ctx context.Context, root *os.Root, d *queue.Delivery, copies []*oneCopy) error {
	var untried []*oneCopy
	for _, c := range copies {
		if !c.tried {
			untried = append(untried, c)
		}
	}
	work := make(chan *oneCopy, len(untried))
	for _, c := range untried {
		work <- c
	}
	close(work)
	workers := min(atOnce, max(1, len(untried)/perWorker))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for n := 1; n < workers; n++ {
		wg.Go(func() { errs[n] = m.write(ctx, root, d, work) })
	}
	errs[0] = m.write(ctx, root, d, work)
	wg.Wait()
	for _, c := range untried {
		if !c.tried && ctx.Err() == nil { // no reader of the message
			return errs[0]
		}
	}
	return nil
}

// write writes copies one after the other, and reads the message by a reader of its own.
func (m *Maildir) write(ctx context.Context, root *os.Root, d *queue.Delivery, work <-chan *oneCopy) error {
	message, err := d.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer message.Close()
	for c := range work {
		if ctx.Err() != nil {
			return nil
		}
		c.tried = true
		if c.err = m.vanished(root, c.dir); c.err == nil {
			c.err = deliver(ctx, root, c.dir, c.name, d.Entry, message)
		}
	}
	return nil
}
