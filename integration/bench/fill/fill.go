// Package fill puts messages that wait into a spool that no server uses.
package fill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/modules/spoolfile"
)

// Options say what waits.
type Options struct {
	Messages int
	Lanes    []string // each has as many messages as the others, one after the other
	Due      int      // in how many of the lanes, the first ones, they are due; in the others in an hour
}

const (
	writers = 32
	later   = time.Hour
	expire  = 5 * 24 * time.Hour
)

var body = []byte("From: alice@example.com\r\nSubject: waits\r\n\r\n" + strings.Repeat("Some text of a usual length, as people write it.\r\n", 80))

// Spool fills the spool in a directory. A server must have left a message there: who routed it routed
// the others too, or all would be routed anew.
func Spool(dir string, o Options) error {
	s, err := spoolfile.Open(dir, spoolfile.Options{})
	if err != nil {
		return err
	}
	like, err := first(s)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	errs := make(chan error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < o.Messages; i += writers {
				if err := put(s, like, i, o); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return errors.Join(<-errs, s.Close())
}

func first(s queue.Spool) (m *queue.EntryView, err error) {
	err = s.List(context.Background(), "", func(found *queue.EntryView) bool {
		m = found
		return false
	})
	if err == nil && (m == nil || len(m.Jobs) == 0) {
		err = errors.New("there is no message of a server's in the spool")
	}
	return m, err
}

func put(s queue.Spool, like *queue.EntryView, i int, o Options) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return err
	}
	lane := i % len(o.Lanes)
	e := *like.Entry
	e.ID = fmt.Sprintf("B%015d", i)
	e.User = fmt.Sprintf("user%d@example.com", i%100)
	e.Accepted, e.Size = time.Now(), int64(len(body))
	e.Recipients = []queue.Recipient{{Address: fmt.Sprintf("bob@d%d.example", lane)}}
	j := queue.NewJob(&e)
	j.Lane, j.Stamp, j.Deadline = o.Lanes[lane], like.Jobs[0].Stamp, e.Accepted.Add(expire)
	if lane >= o.Due {
		j.Due = j.Due.Add(later)
	}
	return d.Commit(context.Background(), &queue.Accept{Entry: &e, Jobs: []queue.Job{j}})
}

// Leases is the median of what a lease takes of a spool in which some lanes take nothing and the others
// anything. What waits there is due: it is asked for two hours from now. Each lease is of another job.
func Leases(dir string, closed []string) (time.Duration, error) {
	s, err := spoolfile.Open(dir, spoolfile.Options{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for _, name := range closed {
		s.SetLane(name, queue.LaneState{})
	}
	ctx, at := context.Background(), time.Now().Add(2*later)
	took := make([]time.Duration, 0, 5000)
	for range cap(took) {
		began := time.Now()
		l, _, err := s.Lease(ctx, at, queue.Want{})
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
		s.SetLane(l.Job().Lane, queue.LaneState{Limit: -1, Proven: true})
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
