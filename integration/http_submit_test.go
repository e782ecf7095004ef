package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/proc"
)

// submitSite is a server with web sites that take messages: by HTTPS, in clear text, and on a unix socket.
type submitSite struct {
	*server
	https, clear, socket string // the first two with their paths
	client               *http.Client
}

// submitName is another name than the msa server's: each has a certificate of its own.
const submitName = "mail.example.test"

const submitHandle = " {\n\thandle /send/* {\n\t\tmsa_submit " + hostname + "\n\t}\n}\n"

// webSites are what a Caddyfile has behind the global options.
func (w *submitSite) webSites() string {
	return "https://" + submitName + ":" + port(w.https) + strings.Replace(submitHandle, "{", "{\n\ttls internal", 1) +
		"http://127.0.0.1:" + port(w.clear) + submitHandle + "http://" + strings.Replace(submitHandle, "{", "{\n\tbind unix/"+w.socket, 1)
}

// newSubmitSite has everything but the process.
func newSubmitSite(t testing.TB, l layout) *submitSite {
	t.Helper()
	s := newServer(t)
	w := &submitSite{server: s, https: freeAddress(t), clear: freeAddress(t), socket: filepath.Join(s.dir, "http.sock")}
	l.global += "\n\tauto_https disable_redirects"
	s.writeUsers(l.users)
	s.write("Caddyfile", s.caddyfile(l)+w.webSites())
	return w
}

func startSubmitSite(t testing.TB, l layout) *submitSite {
	t.Helper()
	w := newSubmitSite(t, l)
	w.runWeb()
	return w
}

// runWeb starts the process, and waits for its sites.
func (w *submitSite) runWeb() {
	w.t.Helper()
	w.run()
	config := w.tlsConfig()
	config.ServerName = submitName
	w.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.https)
	}}}
	w.t.Cleanup(w.client.CloseIdleConnections)
	w.await("the web site's certificate", func() bool {
		conn, err := tls.Dial("tcp", w.https, config)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	ID     string
	State  string
	Detail string
	Policy string
	body   string
}

// ask makes a request of a user's, by HTTPS.
func (w *submitSite) ask(user, method, target string, body io.Reader, header ...string) *answer {
	w.t.Helper()
	a, err := w.try(user, method, target, body, header...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *submitSite) try(user, method, target string, body io.Reader, header ...string) (*answer, error) {
	r, err := http.NewRequest(method, "https://"+submitName+":"+port(w.https)+target, body)
	if err != nil {
		return nil, err
	}
	name, password, _ := strings.Cut(user, ":")
	r.SetBasicAuth(name, password)
	r.Header.Set("Content-Type", "message/rfc822")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{status: response.StatusCode, header: response.Header, body: string(b)}
	return a, json.Unmarshal(b, a)
}

const (
	alice = "alice@example.org:secret"
	bob   = "bob@example.net:hunter2"
)

func sendTo(recipient string) string {
	return "/send/?from=alice@example.org&to=" + recipient
}

// curl, Python's requests and Node's fetch submit by HTTPS, having checked the certificate, and hear what
// became of it; what they posted is what arrives.
func TestHTTPSubmitClients(t *testing.T) {
	t.Parallel()
	w := startSubmitSite(t, layout{})
	w.write("message", octets)
	for name, peer := range map[string]struct {
		program string
		args    []string
	}{
		"curl":     {"curl", nil},
		"requests": {"python3-requests", []string{"clients/http_submit.py"}},
		"fetch":    {"node", []string{"clients/http_submit.mjs"}},
	} {
		t.Run(name, func(t *testing.T) {
			program := need(t, peer.program)
			url := "https://" + submitName + ":" + port(w.https) + "/send/"
			args := peer.args
			if name == "curl" {
				args = []string{"--silent", "--show-error", "--fail-with-body", "--cacert", w.root(), "--resolve", submitName + ":" + port(w.https) + ":127.0.0.1", "--user", alice,
					"--header", "Content-Type: message/rfc822", "--data-binary", "@" + filepath.Join(w.dir, "message"), url + "?from=alice@example.org&to=curl@example.net"}
			}
			cmd := exec.Command(program, args...)
			cmd.Env = append(os.Environ(), "URL="+url, "HOST="+submitName, "CA="+w.root(), "REQUESTS_CA_BUNDLE="+w.root(), "NODE_EXTRA_CA_CERTS="+w.root(), "MESSAGE="+filepath.Join(w.dir, "message"))
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, &errs)
			}
			var a answer
			if err := json.Unmarshal(out, &a); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			message := w.mail(name+"@example.net", 1)[0]
			if got := untraced(t, message); string(got) != octets {
				t.Errorf("delivered\n%q\nsubmitted\n%q", got, octets)
			}
			// No word of the registry says HTTP, so none is there.
			if trace, _, _ := bytes.Cut(message, []byte("\r\nFrom:")); !bytes.Contains(trace, []byte("by "+hostname+" id "+a.ID)) || !bytes.Contains(trace, []byte("tls TLS_")) || bytes.Contains(trace, []byte(" with ")) {
				t.Errorf("%s", trace)
			}
			if name != "curl" { // the others have also sent JSON, and asked for what became of it
				w.mail(name+"-json@example.net", 1)
			}
		})
	}
}

// What is refused by SMTP is refused by HTTP, with the same words; who guesses passwords by the one is blocked by the other.
func TestHTTPSubmitRules(t *testing.T) {
	t.Parallel()
	w := startSubmitSite(t, layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle {\n\t\t\tfailures 3\n\t\t\tdelay 1ms\n\t\t}\n\t}",
		msa: "policy headers {\n\t\trequire Subject\n\t}\n\tlimits {\n\t\tmessage_size 100KiB\n\t\trecipients 100\n\t}"})
	a := w.ask(alice, "POST", "/send/?from=eve@example.org&to=x@example.net", strings.NewReader(letter("x")))
	if a.status != 403 || a.Policy != "sender_identity" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%+v", a)
	}
	c, err := w.as(w.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.do("550 5.7.1 "+a.Detail, "MAIL FROM:<eve@example.org>"); err != nil {
		t.Error(err)
	}
	a = w.ask(alice, "POST", sendTo("x@example.net"), strings.NewReader("From: alice@example.org\r\n\r\nx\r\n"))
	if a.status != 403 && a.status != 422 || a.Policy != "headers" {
		t.Errorf("%+v", a)
	}
	if a = w.ask(alice, "POST", sendTo("x@example.net"), strings.NewReader(letter("x")+strings.Repeat("x", 200_000))); a.status != 413 {
		t.Errorf("%+v", a)
	}
	w.await("the refusals in the journal", func() bool {
		_, body := w.adminRequest("GET", "/msa/history?state=refused", "")
		return strings.Contains(body, "eve@example.org") && strings.Contains(body, `"moment":"DATA"`)
	})
	for range 3 {
		if a = w.ask("bob@example.net:guess", "POST", sendTo("x@example.net"), strings.NewReader(letter("x"))); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%+v", a)
		}
	}
	if a = w.ask(bob, "POST", sendTo("x@example.net"), strings.NewReader(letter("x"))); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	// By clear text only from here, which the site on loopback and the socket are.
	for site, dial := range map[string][2]string{"loopback": {"tcp", w.clear}, "unix": {"unix", w.socket}} {
		for proxied, status := range map[string]int{"": 202, "192.0.2.1": 403} {
			nc, err := net.Dial(dial[0], dial[1])
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest("POST", "http://127.0.0.1:"+port(w.clear)+sendTo(site+"@example.net"), strings.NewReader(letter("x")))
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("alice@example.org", "secret")
			r.Header.Set("Content-Type", "message/rfc822")
			if proxied != "" {
				r.Header.Set("X-Forwarded-For", proxied)
			}
			client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }, DisableKeepAlives: true}}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != status {
				t.Errorf("%s, proxied for %q: %s", site, proxied, response.Status)
			}
		}
	}
}

// A message is told of to its user and to nobody else, and taken back while it waits; what it was is in the journal.
func TestHTTPSubmitOwn(t *testing.T) {
	t.Parallel()
	dead := freeAddress(t) // nobody listens there
	w := startSubmitSite(t, layout{msa: "@far recipient_domain far.example\n\tdeliver @far relay " + dead + " {\n\t\ttls off\n\t}\n\tdeliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}"})
	first := w.ask(alice, "POST", sendTo("a@far.example"), strings.NewReader(letter("x")), "Idempotency-Key", `"order 7"`)
	if first.status != 202 || first.header.Get("Location") != "/send/"+first.ID {
		t.Fatalf("%+v", first)
	}
	w.await("a delay", func() bool { return w.ask(alice, "GET", "/send/"+first.ID, nil).State == "delayed" })
	for _, who := range []string{bob, "alice:secret"} { // the other has a name of its own
		for _, method := range []string{"GET", "DELETE"} {
			if a := w.ask(who, method, "/send/"+first.ID, nil); a.status != 404 && a.status != 401 {
				t.Errorf("%s %s: %+v", who, method, a)
			}
		}
	}
	again := w.ask(alice, "POST", sendTo("a@far.example"), strings.NewReader(letter("x")), "Idempotency-Key", `"order 7"`)
	if again.status != 202 || again.ID != first.ID {
		t.Errorf("%+v, then %+v", first, again)
	}
	if a := w.ask(alice, "POST", sendTo("b@far.example"), strings.NewReader(letter("x")), "Idempotency-Key", `"order 7"`); a.status != 422 {
		t.Errorf("%+v", a)
	}
	var back *answer
	w.await("no attempt under way", func() bool {
		back = w.ask(alice, "DELETE", "/send/"+first.ID, nil)
		return back.status != 409
	})
	if back.status != 200 || back.State != "deleted" {
		t.Errorf("%+v", back)
	}
	if a := w.ask(alice, "GET", "/send/"+first.ID, nil); a.status != 200 || a.State != "deleted" {
		t.Errorf("%+v", a)
	}
	if a := w.ask(alice, "DELETE", "/send/"+first.ID, nil); a.status != 409 {
		t.Errorf("%+v", a)
	}
	_, history := w.adminRequest("GET", "/msa/history?id="+first.ID, "")
	if !strings.Contains(history, `"by":"alice@example.org"`) || !strings.Contains(history, "taken back by the user") {
		t.Error(history)
	}
	// After a restart it is the same: the memory is the spool's.
	w.kill()
	w.runWeb()
	if a := w.ask(alice, "POST", sendTo("a@far.example"), strings.NewReader(letter("x")), "Idempotency-Key", `"order 7"`); a.ID != first.ID {
		t.Errorf("%+v", a)
	}
	if a := w.ask(alice, "POST", sendTo("near@example.net"), strings.NewReader(letter("x"))); a.status != 202 {
		t.Errorf("%+v", a)
	} else {
		w.await("its delivery", func() bool { return w.ask(alice, "GET", a.header.Get("Location"), nil).State == "delivered" })
		if late := w.ask(alice, "DELETE", a.header.Get("Location"), nil); late.status != 409 {
			t.Errorf("%+v", late)
		}
	}
}

// A POST astride a reload goes on, and is judged at its end by the configuration that came.
func TestHTTPSubmitAstride(t *testing.T) {
	t.Parallel()
	w := newSubmitSite(t, layout{})
	config := func(l layout) string {
		l.global = "debug\n\tauto_https disable_redirects"
		return patient(w.caddyfile(l)) + w.webSites()
	}
	w.write("Caddyfile", config(layout{}))
	w.runWeb()
	logins := 0
	begins := func(target, kind, first string) (rest *io.PipeWriter, answered <-chan *answer) {
		reader, writer := io.Pipe()
		c := make(chan *answer, 1)
		go func() {
			a, err := w.try(alice, "POST", target, reader, "Content-Type", kind)
			if err != nil {
				a = &answer{body: err.Error()}
			}
			c <- a
		}()
		if _, err := io.WriteString(writer, first); err != nil {
			t.Fatal(err)
		}
		logins++
		w.await("its login", func() bool { return strings.Count(w.log.String(), `"msg":"authenticated"`) == logins })
		return writer, c
	}
	begin := func(recipient string) (rest *io.PipeWriter, answered <-chan *answer) {
		return begins(sendTo(recipient), "message/rfc822", letter("astride"))
	}
	load := func(l layout) {
		if status, text := w.load(config(l)); status != 200 {
			t.Fatal(status, text)
		}
	}
	rest, answered := begin("kept@example.net")
	load(layout{msa: "limits {\n\t\trecipients 200\n\t}"})
	if _, err := io.WriteString(rest, "more\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = rest.Close()
	if a := <-answered; a.status != 202 {
		t.Errorf("%+v", a)
	}
	if got := untraced(t, w.mail("kept@example.net", 1)[0]); string(got) != letter("astride")+"more\r\n" {
		t.Errorf("%q", got)
	}
	rest, answered = begin("refused@example.net")
	load(layout{msa: "policy recipients {\n\t\tdeny refused@example.net\n\t}"})
	_ = rest.Close()
	if a := <-answered; a.status != 403 && a.status != 422 {
		t.Errorf("%+v", a)
	}
	// As JSON, of which much is in the spool's place already, and more comes.
	half := strings.Repeat("QUJD", 100_000)
	rest, answered = begins("/send/", "application/json", `{"from":"alice@example.org","to":"document@example.net","attachments":[{"content":"`+half)
	load(layout{})
	if _, err := io.WriteString(rest, half+`"}]}`); err != nil {
		t.Fatal(err)
	}
	_ = rest.Close()
	if a := <-answered; a.status != 202 {
		t.Errorf("%+v", a)
	}
	if got := w.mail("document@example.net", 1)[0]; bytes.Count(got, []byte("QUJDQUJD")) < 90_000 {
		t.Errorf("%d octets", len(got))
	}
	// The process does not end before it.
	rest, answered = begin("end@example.net")
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.await("the end to begin", func() bool { return strings.Contains(w.log.String(), "shutting down apps") })
	_ = rest.Close()
	if a := <-answered; a.status != 202 {
		t.Errorf("%+v", a)
	}
	<-w.exited
}

// 50 MiB go through without being held in memory: as they are, as JSON with an attachment or a text, and several at once.
func TestHTTPSubmitLarge(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: no Linux /proc")
	}
	t.Parallel()
	w := startSubmitSite(t, layout{msa: "deliver discard"})
	large := func(before, text string, size int64, after string) func() io.Reader {
		return func() io.Reader {
			return struct{ io.Reader }{io.MultiReader(strings.NewReader(before), io.LimitReader(&endless{text: text}, size/int64(len(text))*int64(len(text))), strings.NewReader(after))}
		}
	}
	const document = `{"from":"alice@example.org","to":"large@example.net",`
	attached := large(document+`"attachments":[{"content":"`, "QUJDREVG", 45<<20, `","filename":"large.bin"}],"text":"x"}`) // 34 MiB, 46 in the message
	warm := []string{"warm", "warmer", "hot", "hotter"}                                                                     // of buffers, and what Go keeps of them
	for _, name := range warm {
		if a := w.ask(alice, "POST", sendTo(name+"@example.net"), strings.NewReader(letter("x"))); a.status != 202 {
			t.Fatalf("%+v", a)
		}
	}
	for name, bodies := range map[string][]func() io.Reader{
		"as they are":   {large(letter("large"), strings.Repeat("x", 76)+"\r\n", 50<<20-2000, "")},
		"an attachment": {attached},
		"a text":        {large(document+`"text":"`, `0123456789\n`, 40<<20, `"}`)},
		"several":       {attached, attached, attached},
	} {
		before, began := residentPeak(t, w.cmd.Process.Pid), time.Now()
		var all sync.WaitGroup
		for _, body := range bodies {
			all.Go(func() {
				target, kind := "/send/", "application/json"
				if name == "as they are" {
					target, kind = sendTo("large@example.net"), "message/rfc822"
				}
				if a, err := w.try(alice, "POST", target, body(), "Content-Type", kind); err != nil || a.status != 202 {
					t.Errorf("%s: %+v, %v", name, a, err)
				}
			})
		}
		all.Wait()
		grown := residentPeak(t, w.cmd.Process.Pid) - before
		t.Logf("%s: %s; the process grew by %d KiB", name, time.Since(began).Round(time.Millisecond), grown>>10)
		if grown > 40<<20 {
			t.Errorf("%s: the process grew by %d KiB", name, grown>>10)
		}
	}
	over := large(document+`"attachments":[{"content":"`, "QUJDREVG", 53<<20, `"}]}`)
	if a := w.ask(alice, "POST", "/send/", over(), "Content-Type", "application/json"); a.status != 413 || !strings.Contains(a.body, "5.3.4") {
		t.Errorf("%+v", a)
	}
}

// What a process that is killed had kept of messages that were not accepted is not there any more once it runs again.
func TestHTTPSubmitKilled(t *testing.T) {
	t.Parallel()
	w := startSubmitSite(t, layout{msa: "deliver discard"})
	files := func() (octets int64) {
		if err := filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
			if info, statErr := os.Lstat(path); err == nil && statErr == nil && info.Mode().IsRegular() && info.Size() >= 1<<20 {
				octets += info.Size()
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return octets
	}
	before := files()
	body, rest := io.Pipe()
	answered := make(chan error, 1)
	go func() {
		_, err := w.try(alice, "POST", "/send/", body, "Content-Type", "application/json")
		answered <- err
	}()
	if _, err := io.Copy(rest, io.MultiReader(strings.NewReader(`{"from":"alice@example.org","to":"x@example.net","attachments":[{"content":"`), io.LimitReader(&endless{text: "QUJD"}, 16<<20))); err != nil {
		t.Fatal(err)
	}
	w.await("what has come to be in a file", func() bool { return files() > before+8<<20 })
	w.kill()
	_ = rest.CloseWithError(io.ErrClosedPipe)
	if <-answered == nil {
		t.Error("it was answered")
	}
	w.client.CloseIdleConnections()
	w.runWeb()
	w.await("the file to be gone", func() bool { return files() <= before+1<<20 })
}

// endless repeats a text.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], e.text[e.at:])
		n += c
		e.at = (e.at + c) % len(e.text)
	}
	return n, nil
}

// residentPeak is the most memory that a process has had, in octets.
func residentPeak(t testing.TB, pid int) int64 {
	t.Helper()
	m, err := proc.ReadMemory(pid)
	if err != nil {
		t.Fatal(err)
	}
	return m.Peak
}

// What docs/http-submission.md says to type works.
func TestHTTPSubmitPage(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	dead := freeAddress(t) // nobody listens there
	w := startSubmitSite(t, layout{msa: "deliver relay " + dead + " {\n\t\ttls off\n\t}"})
	w.write("message.eml", letter("x")[:len(letter("x"))-len("\r\nHello.\r\n")]+"To: bob@example.net\r\nBcc: carol@example.net\r\n\r\nHello.\r\n")
	w.write(".curlrc", "silent\nshow-error\ncacert = "+w.root()+"\nresolve = "+submitName+":"+port(w.https)+":127.0.0.1\n")
	id := ""
	blocks := fenced(t, "../docs/http-submission.md", "sh")
	for _, block := range blocks {
		script := strings.NewReplacer("https://mail.example.org/", "https://"+submitName+":"+port(w.https)+"/", "--user alice@example.org", "--user "+alice).Replace(block)
		if strings.Contains(script, "DELETE") {
			w.await("no attempt under way", func() bool {
				_, body := w.adminRequest("GET", "/msa/queue/"+id, "")
				return !strings.Contains(body, `"in_flight":1`)
			})
		}
		cmd := exec.Command("sh", "-e", "-c", script)
		cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "CURL_HOME="+w.dir, "HOME="+w.dir, "ID="+id)
		out, err := cmd.CombinedOutput()
		var a answer
		if err != nil || json.Unmarshal(out, &a) != nil || a.ID == "" {
			t.Fatalf("%v:\n%s\n%s", err, script, out)
		}
		id = a.ID
	}
	if len(blocks) != 5 {
		t.Errorf("%d commands", len(blocks))
	}
}

// A web site may have the server's own name, and its certificate: in whichever order the apps are provisioned, which is random.
func TestWebSiteOfSameName(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.writeUsers("")
	text := s.caddyfile(layout{global: "auto_https disable_redirects"}) + "https://" + hostname + ":" + port(freeAddress(t)) + strings.Replace(submitHandle, "{", "{\n\ttls internal", 1)
	for range 8 {
		if out, ok := caddy(t, "validate", text); !ok {
			t.Fatal(out)
		}
	}
}
