package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// documentedCluster is the example of docs/cluster.md: its three nodes, behind its load balancer.
type documentedCluster struct {
	nodes    []*server
	health   []string // addresses
	balancer *server  // what clients connect to
	hop      *recordingHop
	primary  *postgres.Server
	standby  *postgres.Server
	objects  func() int
	trust    *tls.Config
}

// the networks of the page and of the test
const pageNet, testNet = "10.0.0.", "127.77.0."

func startDocumentedCluster(t *testing.T) *documentedCluster {
	t.Helper()
	haproxy := need(t, "haproxy")
	page := "../docs/cluster.md"
	caddyfile, balancer := fenced(t, page, "caddyfile")[0], fenced(t, page, "haproxy")[0]
	c := &documentedCluster{primary: postgres.Start(t), hop: startRecordingHop(t, 20*time.Millisecond)}
	c.standby = c.primary.Standby()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "queue"); err != nil {
		t.Fatal(err)
	}
	store := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"msa": "s3cret-key"})).Server())
	t.Cleanup(store.Close)
	c.objects = func() int {
		list, err := backend.ListBucket(context.Background(), "queue", nil, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Contents)
	}

	shared := t.TempDir()
	cert, key := filepath.Join(shared, "msa.pem"), filepath.Join(shared, "msa.key")
	selfSigned(t, hostname, cert, key)
	b, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	c.trust = &tls.Config{RootCAs: roots, ServerName: hostname}

	port := func(address string) string { _, p, _ := net.SplitHostPort(address); return p }
	submission, submissions, health := port(freeAddress(t)), port(freeAddress(t)), port(freeAddress(t))
	for i := range 3 {
		address := fmt.Sprint(testNet, 11+i)
		s := newServer(t)
		s.starttls, s.implicit = net.JoinHostPort(address, submission), net.JoinHostPort(address, submissions)
		s.writeUsers("")
		s.write("Caddyfile", replaced(t, page, caddyfile, [][2]string{
			{"msa.example.org", hostname}, {"localhost:2019", s.admin}, {"/srv/caddy", s.dir + "/caddy"}, {"/srv/tls/msa.pem", cert}, {"/srv/tls/msa.key", key},
			{"/srv/msa/users.passwd", s.dir + "/users.passwd"}, {"listen :587", "listen " + s.starttls}, {"listen_tls :465", "listen_tls " + s.implicit},
			{"http://:8080 {", "http://:" + health + " {\n\tbind " + address}, {"next-hop.example.org:25 {", c.hop.address + " {\n\ttls off"},
			{"db1.example.org,db2.example.org/msa?sslmode=verify-full", fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", c.primary.Port, c.standby.Port)},
			{"bodies s3 https://s3.example.org queue {", "bodies s3 " + store.URL + " queue {\n\tinsecure_plaintext\n\tpath_style"},
			{pageNet, testNet}, {"{env.MSA_NODE}", "{env.MSA_NODE}\n\tlease 3s\n\ttimeout 15s"},
		}))
		s.env = []string{fmt.Sprintf("MSA_NODE=msa%d", 1+i)}
		s.run()
		c.nodes, c.health = append(c.nodes, s), append(c.health, net.JoinHostPort(address, health))
	}

	c.balancer = &server{t: t, starttls: freeAddress(t), implicit: freeAddress(t)}
	d := newDaemon(t, map[string]string{"haproxy.cfg": replaced(t, page, balancer, [][2]string{
		{"bind :587", "bind " + c.balancer.starttls}, {"bind :465", "bind " + c.balancer.implicit}, {"port 8080", "port " + health},
		{":587\n", ":" + submission + "\n"}, {":465\n", ":" + submissions + "\n"}, {pageNet, testNet}, {"send-proxy-v2", "send-proxy-v2 source " + testNet + "10"},
	})}, haproxy, "-db", "-f", "$D/haproxy.cfg")
	d.serves = listening(c.balancer.implicit)
	d.run()
	return c
}

// replaced is a text of the page as the test needs it. What is not there any more is a mistake of the test's.
func replaced(t *testing.T, page, text string, with [][2]string) string {
	t.Helper()
	for _, r := range with {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("%s has no %q any more:\n%s", page, r[0], text)
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return text
}

// ready is how many nodes say that they can accept.
func (c *documentedCluster) ready() (n int) {
	for _, address := range c.health {
		resp, err := http.Get("http://" + address + "/msa/health")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			n++
		}
	}
	return n
}

// send submits a message through the balancer, as often as it takes, and returns its queue id.
func (c *documentedCluster) send(t *testing.T, message string) (id string) {
	t.Helper()
	await(t, "acceptance", func() bool {
		conn, err := c.balancer.as(c.trust, "alice@example.org")
		if err != nil {
			return false
		}
		defer conn.close()
		id, err = conn.submit("alice@example.org", "bob@example.net", message)
		return err == nil
	})
	return id
}

// The example of docs/cluster.md runs, and survives what it says that it survives.
func TestDocumentedCluster(t *testing.T) {
	t.Parallel()
	c := startDocumentedCluster(t)
	await(t, "three nodes that can accept", func() bool { return c.ready() == 3 })
	resp, err := http.Get("http://" + c.health[0] + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("the admin API can be reached: %d", resp.StatusCode)
	}

	sent := 0
	subject := func() string { return fmt.Sprintf("cluster-%d", sent) }
	load := func(n int) {
		t.Helper()
		for range n {
			sent++
			c.send(t, letter(subject()))
		}
	}
	delivered := func() bool {
		messages, _, _ := c.hop.counts()
		return messages == sent
	}
	load(12)
	sent++
	c.send(t, letter(subject())+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 5000))
	await(t, "delivery", delivered)
	await(t, "the end of the object", func() bool { return c.objects() == 0 })
	for _, s := range c.nodes {
		s.await("a message that a node has accepted", func() bool {
			if strings.Contains(s.log.String(), "message accepted") {
				return true
			}
			load(1) // the balancer did not know yet that this node is there
			return false
		})
		if !strings.Contains(s.log.String(), `"remote":"127.0.0.1`) && !strings.Contains(s.log.String(), `"remote_ip":"127.0.0.1`) {
			t.Error("the log of a node does not know who the client is")
		}
	}

	// A client that never saw its 250 comes again, to another node.
	sent++
	if one, two := c.send(t, letter(subject())), c.send(t, letter(subject())); one != two {
		t.Errorf("accepted as %s, and as %s", one, two)
	}

	c.nodes[0].kill()
	load(6)
	await(t, "the balancer's knowing", func() bool { return c.ready() == 2 })
	c.nodes[0].run()
	await(t, "three nodes that can accept", func() bool { return c.ready() == 3 })

	c.primary.Kill()
	await(t, "that no node can accept", func() bool { return c.ready() == 0 })
	c.standby.Promote()
	await(t, "three nodes that can accept", func() bool { return c.ready() == 3 })
	load(6)
	await(t, "delivery", delivered)
	if _, again, _ := c.hop.counts(); again > 12 {
		t.Errorf("%d were delivered again", again)
	}
}
