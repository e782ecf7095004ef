// Command spoolfill puts messages for down.example into a spool that no server uses:
//
//	spoolfill <directory> <count>
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/modules/spoolfile"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: spoolfill <directory> <count>")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	s, err := spoolfile.Open(os.Args[1], spoolfile.Options{})
	if err != nil {
		log.Fatal(err)
	}
	const writers = 32
	body := []byte("From: alice@example.org\r\nSubject: waits\r\n\r\n" + strings.Repeat("Some text of a usual length, as people write it.\r\n", 80))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < count; i += writers {
				if err := put(s, i, body); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}
}

func put(s queue.Spool, i int, body []byte) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return err
	}
	now := time.Now()
	e := &queue.Entry{
		ID: fmt.Sprintf("B%015d", i), Server: "msa.example.test", Accepted: now, Size: int64(len(body)), Sender: "alice@example.org", ReturnPath: true,
		User: fmt.Sprintf("user%d@example.org", i%100), RemoteIP: "192.0.2.1", Recipients: []queue.Recipient{{Address: "bob@down.example"}},
	}
	return d.Commit(context.Background(), &queue.Accept{Entry: e})
}
