package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// console is a server with a web site that shows it.
type console struct {
	*server
	site string // where the console is, with a slash at the end
	hop  *hoptest.Hop
}

// Hostile texts, as strangers write them: markup, escape sequences, changes of the writing direction, what has no width.
const (
	hostileHelo    = `<script>alert(1)</script>`
	hostileAddress = `"<img/src=x/onerror=alert(2)>"@example.net`
	hostileReply   = "550 5.1.1 \"><script>alert(3)</script>\x1b[2J \u202egnp.exe\u202c {{.User}} javascript:alert(4)"
	hostileSubject = "=?utf-8?q?=3Cb=3E_=E2=80=AE_txt.exe_=1B[31m?= '\"><script>alert(5)</script>"
)

// startConsole starts a server whose next hop takes, refuses, or puts off by the recipient. Within msa_console are the lines of settings;
// who comes logs in as admin with the password "look".
func startConsole(t *testing.T, settings string) *console {
	t.Helper()
	hop := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			to, ok := strings.CutPrefix(line, "RCPT TO:")
			switch {
			case !ok:
			case strings.Contains(to, "busy"):
				return "450 4.2.1 Mailbox is busy, try again later"
			case strings.Contains(to, "nobody"):
				return "550 5.1.1 No such user here"
			case strings.Contains(to, "onerror"):
				return hostileReply
			}
			return ""
		}
	})
	c := &console{server: newServer(t), hop: hop}
	address := freeAddress(t)
	c.site = "http://" + address + "/console/"
	hash, err := bcrypt.GenerateFromPassword([]byte("look"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c.writeUsers("")
	c.write("Caddyfile", c.caddyfile(layout{auth: "auth {\n\t\tthrottle {\n\t\t\tfailures 3\n\t\t\tdelay 1ms\n\t\t}\n\t\tfile $DIR/users.passwd\n\t}", msa: `
	@down recipient_domain down.example
	deliver @down relay 127.0.0.1:9 {
		tls off
	}
	policy recipients {
		max_per_message 3
	}
	deliver relay ` + hop.Addr + ` {
		tls off
	}
	queue {
		retry 1h
	}`})+fmt.Sprintf(`
http://%s {
	handle /open/* {
		msa_console {
			actions
			content
		}
	}
	handle /console/* {
		basic_auth {
			admin %s
		}
		msa_console {
			%s
		}
	}
}
`, address, hash, settings))
	c.run()
	return c
}

// seed has users do what users do, and returns the ids of messages by what became of them.
func (c *console) seed() map[string]string {
	t := c.t
	trust := c.tlsConfig()
	ids := make(map[string]string)
	for what, to := range map[string]string{"delivered": "bob@example.net", "deferred": "busy@example.net", "failed": "nobody@example.net", "down": "carol@down.example", "hostile": hostileAddress} {
		talk, err := connect("tcp", c.implicit, trust)
		if err != nil {
			t.Fatal(err)
		}
		helo := "laptop.example.org"
		if what == "hostile" {
			helo = hostileHelo
		}
		subject := "Minutes of the meeting"
		if what == "hostile" || what == "deferred" {
			subject = hostileSubject
		}
		if err = all(func() error { return talk.do("250", "EHLO "+helo) }, func() error { return talk.login("alice@example.org", "secret") }); err == nil {
			ids[what], err = talk.submit("alice@example.org", to, letter(subject))
		}
		talk.close()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	talk, err := c.as(trust, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer talk.close()
	if err := talk.do("550", "MAIL FROM:<mallory@example.org>"); err != nil {
		t.Error(err)
	}
	guess, err := connect("tcp", c.implicit, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer guess.close()
	if err := all(func() error { return guess.do("250", "EHLO "+hostileHelo) }, func() error { return guess.login("root<script>\u202e", "123456") }); err == nil {
		t.Error("a guess was right")
	}
	c.await("what became of the messages", func() bool {
		_, body := c.adminRequest(http.MethodGet, "/msa/history?state=deferred,delivered,failed,refused&limit=1000", "")
		if !strings.Contains(body, "mallory") { // who is refused is written a little later
			return false
		}
		for _, id := range ids {
			if !strings.Contains(body, id) {
				return false
			}
		}
		_, body = c.adminRequest(http.MethodGet, "/msa/history?state=bounced&limit=1000", "")
		return strings.Contains(body, ids["failed"])
	})
	return ids
}

// web asks the site as admin. form makes it a POST from the site's own pages.
func (c *console) web(path string, form url.Values, change ...func(*http.Request)) (status int, body string) {
	c.t.Helper()
	method, text := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, text = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, c.site+path, text)
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("admin", "look")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, f := range change {
		f(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != http.StatusUnauthorized && !strings.Contains(csp, "default-src 'none'") {
		c.t.Errorf("%s: policy %q", path, csp)
	}
	return resp.StatusCode, string(b)
}

var unseen = regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u200b-\u200f]")

// safe tells what of a page strangers could steer a browser or an eye with.
func safe(t *testing.T, page, body string) {
	t.Helper()
	if strings.Count(body, "<script") != 1 || strings.Contains(body, "<img/src") {
		t.Errorf("%s: markup of strangers", page)
	}
	if found := unseen.FindString(body); found != "" {
		t.Errorf("%s: %q", page, found)
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "actions\ncontent")
	ids := c.seed()
	for page, texts := range map[string][]string{
		"":                              {"Accepted", hostname, "127.0.0.1:9"},
		"messages":                      {ids["delivered"], ids["deferred"], ids["failed"], "Mailbox is busy", "mallory"},
		"messages?q=busy":               {ids["deferred"]},
		"messages?q=state:failed":       {ids["failed"]},
		"messages?q=to:bob@example.net": {ids["delivered"]},
		"messages?q=from:alice+lane:none&part=live": {"journal has nothing"},
		"message?id=" + ids["delivered"]:            {"bob@example.net", "laptop.example.org"},
		"message?id=" + ids["failed"]:               {"No such user here", "Notification"},
		"message?id=" + ids["hostile"]:              {"&lt;script&gt;", "⟨U+202E⟩"},
		"source?id=" + ids["deferred"]:              {"&lt;b&gt;", "⟨U+202E⟩", "⟨U+001B⟩"},
		"lanes":                                     {"relay/127.0.0.1:9", "down", "Pause"},
	} {
		status, body := c.web(page, nil)
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", page, status, body)
		}
		for _, text := range texts {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %q in\n%s", page, text, body)
			}
		}
		if !strings.Contains(page, "part=live") {
			safe(t, page, body)
		}
	}
	if _, body := c.web("messages?q=to:bob@example.net", nil); strings.Contains(body, ids["deferred"]) {
		t.Error("a search finds what it is not for")
	}
	for _, missing := range []string{"nothing", "message?id=M000000000000000", "message", "source?id=M000000000000000"} {
		if status, body := c.web(missing, nil); status != http.StatusNotFound && status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", missing, status, body)
		}
	}
}

// fromElsewhere is a form that another site has the browser send.
func fromElsewhere(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }

func TestConsoleActions(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "actions")
	ids := c.seed()
	busy, down := ids["deferred"], ids["down"]
	hold := url.Values{"do": {"hold"}, "id": {busy}, "reason": {"asked <b>by</b> legal"}}
	for name, try := range map[string]func() (int, string){
		"another site": func() (int, string) { return c.web("messages", hold, fromElsewhere) },
		"another origin": func() (int, string) {
			return c.web("messages", hold, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "http://evil.example") })
		},
		"nobody": func() (int, string) {
			return c.web("../open/messages", hold, func(r *http.Request) { r.Header.Del("Authorization") })
		},
		"content": func() (int, string) { return c.web("source?id="+busy, nil) },
	} {
		if status, body := try(); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _ := c.web("../open/messages", nil, func(r *http.Request) { r.Header.Del("Authorization") }); status != http.StatusOK {
		t.Errorf("looking needs nobody: %d", status)
	}
	state := func(id string) string {
		_, body := c.adminRequest(http.MethodGet, "/msa/queue/"+id, "")
		return body
	}
	act := func(page string, form url.Values, want string) string {
		t.Helper()
		status, body := c.web(page, form)
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%v: %d, no %q in %s", form, status, want, body)
		}
		safe(t, page, body)
		return body
	}
	act("messages?q=busy", hold, "1 message held.")
	if s := state(busy); !strings.Contains(s, `"state":"held"`) {
		t.Error(s)
	}
	act("messages?q=busy", hold, "it is held already: asked &lt;b&gt;by&lt;/b&gt; legal")
	act("message?id="+busy, url.Values{"do": {"release"}, "id": {busy}}, "1 message released.")
	act("message?id="+busy, url.Values{"do": {"retry"}, "id": {busy}}, "1 message tried again.")
	act("message?id="+busy, url.Values{"do": {"reroute"}, "id": {busy}, "server": {hostname}}, "1 message rerouted.")
	act("messages", url.Values{"do": {"reroute"}, "id": {busy}}, "choose the server")
	act("messages", url.Values{"do": {"hold"}}, "choose messages first")
	act("messages", url.Values{"do": {"eat"}, "id": {busy}}, "choose what is to be done")
	for _, does := range []string{"probe", "pause", "resume"} {
		act("lanes", url.Values{"do": {does + " " + url.QueryEscape("relay/127.0.0.1:9")}, "reason": {"moving house"}}, "Lane relay/127.0.0.1:9 is ")
	}
	act("lanes", url.Values{"do": {"pause nowhere"}}, "nowhere")
	// What cannot be undone is asked about first, with how many they are.
	if ask := act("messages", url.Values{"do": {"bounce"}, "id": {down}}, "Bounce 1 message?"); !strings.Contains(ask, `name="sure" value="1"`) {
		t.Error(ask)
	}
	if s := state(down); !strings.Contains(s, `"state":"queued"`) {
		t.Error("it was not sure:", s)
	}
	act("messages", url.Values{"do": {"bounce"}, "id": {down}, "sure": {"1"}, "reason": {"the domain is gone"}}, "1 message bounced.")
	act("messages", url.Values{"do": {"delete"}, "all": {"1"}, "q": {"to:busy"}}, "Delete 1 message?")
	second := c.mustSend(c.tlsConfig(), "alice@example.org", "alice@example.org", "busy2@example.net", letter("second"))
	act("messages", url.Values{"do": {"delete"}, "all": {"1"}, "q": {"to:busy"}, "sure": {"1"}}, "They are more than before")
	act("messages", url.Values{"do": {"delete"}, "all": {"1"}, "q": {"to:busy"}, "sure": {"1"}, "until": {busy}}, "1 message deleted.")
	if status, _ := c.adminRequest(http.MethodGet, "/msa/queue/"+busy, ""); status != http.StatusNotFound {
		t.Errorf("it is still there: %d", status)
	}
	if s := state(second); !strings.Contains(s, second) {
		t.Error("what came since is gone:", s)
	}
	// Who did it, in log and journal.
	_, story := c.adminRequest(http.MethodGet, "/msa/history?id="+busy, "")
	for _, what := range []string{"held", "released", "retried", "rerouted", "deleted"} {
		if !regexp.MustCompile(`"what":"` + what + `"[^}]*"by":"admin"`).MatchString(story) {
			t.Errorf("no %s by admin in %s", what, story)
		}
	}
	c.await("what was done with lanes in the journal", func() bool {
		_, body := c.adminRequest(http.MethodGet, "/msa/history?state=paused,resumed,probed", "")
		return strings.Count(body, `"by":"admin"`) == 3 && strings.Contains(body, "relay/127.0.0.1:9: moving house")
	})
	c.logged("queue action", `"action":"delete"`, `"by":"admin"`)
	c.logged("lane action", `"action":"pause"`, `"by":"admin"`, "moving house")
}

func TestConsoleLookOnly(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "")
	ids := c.seed()
	if status, body := c.web("messages", url.Values{"do": {"hold"}, "id": {ids["deferred"]}}); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
	for _, page := range []string{"messages", "lanes", "message?id=" + ids["deferred"]} {
		if _, body := c.web(page, nil); strings.Contains(body, `method="post"`) && strings.Contains(body, `name="do"`) || !strings.Contains(body, "look only") {
			t.Errorf("%s offers what it does not do:\n%s", page, body)
		}
	}
}

// The page comes again by itself when something has changed, and a reload does not wait for who looks.
func TestConsoleStream(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "actions")
	r, err := http.NewRequest(http.MethodGet, c.site+"events?of=messages&q=late", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", "look")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	until := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("no %q: %v", text, lines.Err())
	}
	until("Nothing that matches waits.")
	c.mustSend(c.tlsConfig(), "alice@example.org", "alice@example.org", "late-and-busy@example.net", letter("late"))
	until("late-and-busy@example.net")
	config, err := os.ReadFile(filepath.Join(c.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := c.load(strings.Replace(string(config), "retry 1h", "retry 2h", 1)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

// Debian's Chromium goes through every page, light and dark, narrow and wide, and without JavaScript. It is the shell without the browser's
// own windows and services, which takes half the work.
// CONSOLE_SHOTS is a directory that keeps the screenshots, and has them of the whole of each page.
func TestConsoleBrowser(t *testing.T) {
	t.Parallel()
	browsed(t, "audit")
}

// Every action, and what happens elsewhere meanwhile.
func TestConsoleBrowserActs(t *testing.T) {
	t.Parallel()
	browsed(t, "actions")
}

// Every action without JavaScript.
func TestConsoleBrowserPlain(t *testing.T) {
	t.Parallel()
	browsed(t, "plain")
}

// browsed has Chromium do a part of what console.js does, at a site of its own.
func browsed(t *testing.T, part string) {
	t.Helper()
	need(t, "chromium")
	need(t, "axe")
	c := startConsole(t, "actions\ncontent")
	ids := c.seed()
	for _, from := range []string{"127.0.0.2", "127.0.0.3"} { // one block for each of those who lift
		c.guess(from, 3)
	}
	for _, to := range []string{"plain-busy-1", "plain-busy-2", "plain-busy-3"} {
		c.mustSend(c.tlsConfig(), "alice@example.org", "alice@example.org", to+"@example.net", letter("for who has no JavaScript"))
	}
	shots, kept := os.LookupEnv("CONSOLE_SHOTS")
	if !kept {
		shots = t.TempDir()
	}
	known, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	c.drive(shots, string(known), part)
}

// drive has Chromium go through the pages, for one part of what there is to see.
func (c *console) drive(shots, ids, part string) {
	c.t.Helper()
	cmd := exec.Command(need(c.t, "axe"), filepath.Join("clients", "console", "console.js"), c.site, shots, ids, part)
	cmd.Env = append(os.Environ(), installed.NPMPath, "CHROMIUM="+need(c.t, "chromium"), "HOME="+c.dir)
	out, err := cmd.CombinedOutput()
	c.t.Logf("%s", out)
	if err != nil {
		c.t.Error(err)
	}
}

// The README has a picture of an ordinary day; with -update the test writes it.
func TestConsolePicture(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	need(t, "axe")
	c := startConsole(t, "actions")
	for _, to := range []string{"bob@example.net", "sales@shop.example", "busy-office@example.com", "carol@down.example", "nobody@example.net", "grace@lab.example", "info@example.com"} {
		c.mustSend(c.tlsConfig(), "alice@example.org", "alice@example.org", to, letter("Minutes of the meeting"))
	}
	c.await("what became of the messages", func() bool {
		_, body := c.adminRequest(http.MethodGet, "/msa/history?state=deferred,delivered,failed&limit=1000", "")
		return strings.Count(body, `"what":`) >= 8
	})
	shots := t.TempDir()
	c.drive(shots, "{}", "readme")
	picture, err := os.ReadFile(filepath.Join(shots, "readme.png"))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("../docs/console.png", picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat("../docs/console.png"); err != nil {
		t.Error(err)
	}
}

// guess has a stranger try passwords until its network is blocked for a user.
func (c *console) guess(from string, times int) {
	c.t.Helper()
	dialer := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	for range times {
		nc, err := dialer.Dial("tcp", c.implicit)
		if err != nil {
			c.t.Fatal(err)
		}
		talk, err := talkOver(nc, c.tlsConfig())
		if err != nil {
			c.t.Fatal(err)
		}
		_ = all(func() error { return talk.do("250", "EHLO bot.example.com") }, func() error { return talk.login("carol@example.org", "123456") })
		talk.close()
	}
}

// What is asked while configurations come and go is answered, by whichever is in charge.
func TestConsoleAstrideReload(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "actions")
	config, err := os.ReadFile(filepath.Join(c.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	id := c.mustSend(c.tlsConfig(), "alice@example.org", "alice@example.org", "busy@example.net", letter("astride"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 6 {
			text := strings.Replace(string(config), "retry 1h", fmt.Sprintf("retry %dh", i+2), 1)
			if status, body := c.load(text); status != http.StatusOK {
				t.Errorf("%d %s", status, body)
			}
		}
	}()
	does := []string{"hold", "release"}
	for n, over := 0, false; !over; n++ {
		select {
		case <-done:
			over = true
		default:
		}
		r, err := http.NewRequest(http.MethodPost, c.site+"message?id="+id, strings.NewReader(url.Values{"do": {does[n%len(does)]}, "id": {id}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", "look")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		resp, err := http.DefaultClient.Do(r)
		if err != nil { // the socket of before may be closed with what was in its backlog
			n--
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v: %d %s", err, resp.StatusCode, body)
		}
	}
}
