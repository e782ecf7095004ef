package notifywebhook

import (
	"container/list"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// maxClients is how many services are remembered, so that their connections are used again.
const maxClients = 1000

// clients are those of the services that were called last. The zero value is ready.
type clients struct {
	mu   sync.Mutex
	have map[string]*list.Element // of *known, by URL
	last list.List                // the first was used last
}

type known struct {
	url    string
	client *webcall.Client
}

// get returns the client of a URL. leave is called when it has been used.
func (c *clients) get(url string, open func() (*webcall.Client, error)) (client *webcall.Client, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.have == nil {
		c.have = make(map[string]*list.Element)
	}
	e := c.have[url]
	if e == nil {
		if client, err = open(); err != nil {
			return nil, nil, err
		}
		e = c.last.PushFront(&known{url, client})
		c.have[url] = e
	}
	c.last.MoveToFront(e)
	for c.last.Len() > maxClients {
		c.drop(c.last.Back())
	}
	k := e.Value.(*known)
	return k.client, func() { c.left(url, k) }, nil
}

// left closes the idle connections of a client that was dropped while it was used.
func (c *clients) left(url string, k *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.have[url]; e == nil || e.Value.(*known) != k {
		k.client.Close()
	}
}

func (c *clients) drop(e *list.Element) {
	k := c.last.Remove(e).(*known)
	delete(c.have, k.url)
	k.client.Close()
}

// close closes all.
func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.last.Len() > 0 {
		c.drop(c.last.Back())
	}
}
