package app

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// onDisk is a configuration whose spool is that of a name; "" is the usual one.
func onDisk(in *instance, name string) func(server, app map[string]any) {
	return withAppField("spool", map[string]any{"module": "memory", "world": in.mail.id, "disk": name})
}

// emptied waits until a spool was closed because it is empty.
func (in *instance) emptied(disk string) {
	in.t.Helper()
	in.logged("a former configuration's spool is empty and is closed", `"memory:`+in.mail.id+disk+`"`)
}

// half begins a transaction, of which the rest is still to come.
func (c *dialogue) half(to string) {
	c.in.t.Helper()
	c.envelope(to)
	c.do("DATA", "354")
	c.send(letter[:20])
}

func (c *dialogue) rest() string {
	c.in.t.Helper()
	c.send(letter[20:] + ".\r\n")
	return queueID(c.want("250 2.0.0 Ok: queued as "))
}

// A transaction that is open while the spool is replaced, be it twice, ends in the spool that it began in, which is kept
// open for it and delivers what it accepted before it closes.
func TestTransactionOverSpools(t *testing.T) {
	in := newInstance(t)
	in.load()
	first, second := in.session(), in.session()
	first.half("bob@example.net")
	in.load(onDisk(in, "b"))
	second.half("carol@example.net")
	in.load(onDisk(in, "c"))
	third := in.session()
	third.half("dave@example.net")
	if all := in.mail.copies(); len(all) != 0 {
		t.Fatalf("%+v", all)
	}
	first.rest()
	in.arrived(1)
	in.emptied("")
	second.rest()
	in.arrived(2)
	in.emptied("b")
	third.rest()
	in.arrived(3)
	for _, c := range []*dialogue{first, second, third} { // and go on in the spool of now
		c.submit("erin@example.net")
	}
	in.arrived(6)
}

// The spool of before comes back while it is still being emptied, or after it was closed: nothing of it is lost.
func TestSpoolComesBack(t *testing.T) {
	in := newInstance(t)
	in.load()
	in.mail.change(func() { in.mail.sink = failing(errors.New("connection refused")) })
	c, open := in.session(), in.session()
	first := c.submit("bob@example.net")
	open.half("carol@example.net")
	in.load(onDisk(in, "b"))
	second := c.submit("dave@example.net")
	in.logged("a former configuration's spool still has messages", `"messages":1`, `"being_received":1`)
	in.load(onDisk(in, ""))
	in.logged("a former configuration's spool still has messages", `"memory:`+in.mail.id+`b"`)
	third := open.rest()
	if status, body := in.admin("GET", "/msa/queue", ""); status != 200 || strings.Count(body, `"id":`) != 3 {
		t.Errorf("the queue of both spools: %d %s", status, body)
	}
	ids := []string{first, second, third}
	slices.Sort(ids)
	for i, after := range append([]string{""}, ids[:2]...) {
		if status, body := in.admin("GET", "/msa/queue?limit=1&after="+after, ""); status != 200 || !strings.Contains(body, `"id":"`+ids[i]) || strings.Count(body, `"id":`) != 1 {
			t.Errorf("its page %d: %d %s", i+1, status, body)
		}
	}
	if status, body := in.admin("GET", "/msa/queue/"+second, ""); status != 200 || !strings.Contains(body, "dave@example.net") {
		t.Errorf("a message of the former spool: %d %s", status, body)
	}
	in.mail.change(func() { in.mail.sink = nil })
	if _, body := in.admin("POST", "/msa/queue-actions/retry", `{"ids": ["`+first+`", "`+second+`", "`+third+`"]}`); strings.Contains(body, "failed") {
		t.Error(body)
	}
	in.arrived(3)
	in.emptied("b")
	in.load(onDisk(in, "b"))
	in.emptied("")
	in.load(onDisk(in, ""))
	in.await("one open spool", func() bool { return openStores(in) == 1 })
	c.submit("erin@example.net")
	in.arrived(4)
}

// A former spool whose disk is full tells the client of the open transaction to come again, and says so; what it has is kept
// and delivered once it can be read.
func TestFormerSpoolBroken(t *testing.T) {
	in := newInstance(t)
	var broken atomic.Bool
	in.mail.spool.Fault = func(op string, _ *queue.Entry) error {
		if !broken.Load() {
			return nil
		}
		switch op {
		case "commit", "create":
			return queue.ErrFull
		}
		return errors.New("input/output error")
	}
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	c, open := in.session(), in.session()
	kept := c.submit("bob@example.net")
	in.logged("connection refused", kept)
	open.half("carol@example.net")
	broken.Store(true)
	in.load(onDisk(in, "b"))
	open.send(letter[20:] + ".\r\n")
	open.want("452 4.3.1")
	in.mail.change(func() { in.mail.sink = nil })
	open.submit("carol@example.net") // into the new one
	c.submit("dave@example.net")
	in.arrived(2)
	in.logged("a former configuration's spool still has messages", `"messages":1`)
	broken.Store(false)
	in.load(onDisk(in, "")) // and back, with what is left in it
	_, _ = in.admin("POST", "/msa/queue-actions/retry", `{"ids": ["`+kept+`"]}`)
	in.arrived(3)
}

// A configuration that fails leaves the spool of the one in force in charge.
func TestSpoolOfFailedReload(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	c.half("bob@example.net")
	in.refuses(both(onDisk(in, "b"), with("listen_tls", []string{"unix/" + in.dir + "/none/such"})), "listening")
	c.rest()
	in.arrived(1)
	c.submit("carol@example.net")
	in.arrived(2)
	if stores := openStores(in); stores != 1 {
		t.Errorf("%d spools are open", stores)
	}
}

func both(edits ...func(server, app map[string]any)) func(server, app map[string]any) {
	return func(server, app map[string]any) {
		for _, edit := range edits {
			edit(server, app)
		}
	}
}

// openStores is how many of the instance's spools are open.
func openStores(in *instance) (n int) {
	stores.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(string), "memory:"+in.mail.id) {
			n++
		}
		return true
	})
	return n
}
