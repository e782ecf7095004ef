package app

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() { drainEvery = 20 * time.Millisecond }

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
	// What was due by itself may be delivered by now, and is not found any more.
	if status, body := in.admin("POST", "/msa/queue-actions/retry", `{"ids": ["`+first+`", "`+second+`", "`+third+`"]}`); status != 200 && !strings.Contains(body, "it was delivered") {
		t.Error(status, body)
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

// The operator sees the lanes of a former spool beside those of the one in use, steers those of a name together, and has both checked.
func TestSteerFormerSpool(t *testing.T) {
	in := newInstance(t)
	in.mail.change(func() { in.mail.sink = failing(errors.New("connection refused")) })
	in.load()
	c := in.session()
	first := c.submit("bob@example.net")
	in.logged("connection refused", first)
	in.load(onDisk(in, "b"))
	former := `"spool":"memory:` + in.mail.id + `"`
	lanes := func() []adminapi.Lane {
		t.Helper()
		status, body := in.admin("GET", "/msa/lanes", "")
		var answer adminapi.Lanes
		if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil {
			t.Fatal(status, body, err)
		}
		return answer.Lanes
	}
	steer := func(action, lane string, want int) {
		t.Helper()
		if status, body := in.admin("POST", "/msa/lane-actions/"+action, `{"lane": "`+lane+`"}`); status != want {
			t.Errorf("%s %s: %d %s", action, lane, status, body)
		}
	}
	states := func(want ...string) {
		t.Helper()
		var got []string
		for _, l := range lanes() {
			got = append(got, l.State)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the lanes are %v, not %v", got, want)
		}
	}
	in.await("the attempt's end", func() bool { l := lanes(); return len(l) == 1 && l[0].Waiting == 1 }) // the log has it a moment earlier
	all := lanes()
	if len(all) != 1 || all[0].Spool != "memory:"+in.mail.id {
		t.Fatalf("the former spool's lane: %+v", all)
	}
	name := all[0].Name
	second := c.submit("dave@example.net")
	in.logged("connection refused", second)
	in.await("a lane of either spool", func() bool { return len(lanes()) == 2 })
	if all = lanes(); all[0].Spool != "" || all[1].Spool == "" {
		t.Fatalf("%+v", all)
	}
	steer("pause", name, 200)
	states(queue.LanePaused, queue.LanePaused)
	steer("pause", "none", 409)
	steer("pause", "", 400)
	steer("probe", name, 409) // nothing goes there
	steer("resume", name, 200)
	steer("resume", name, 409) // neither is paused any more
	steer("probe", name, 200)
	for _, l := range lanes() {
		if l.State == queue.LanePaused {
			t.Errorf("resumed: %+v", l)
		}
	}
	status, body := in.admin("GET", "/msa/spool/check", "")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if status != 200 || len(lines) != 4 || strings.Count(body, `"done":true`) != 2 || strings.Count(body, former) != 2 || !strings.Contains(lines[3], former) || strings.Count(body, `"messages":1`) != 4 {
		t.Errorf("check: %d %s", status, body)
	}
	steer("pause", name, 200)
	in.load(onDisk(in, "c"))
	c.submit("erin@example.net")
	in.await("the message, in a lane that stays paused", func() bool {
		return slices.ContainsFunc(lanes(), func(l adminapi.Lane) bool { return l.Spool == "" && l.State == queue.LanePaused && l.Waiting == 1 })
	})
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
