package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// prometheus is Debian's, at work.
type prometheus struct {
	t    *testing.T
	addr string
}

// startPrometheus has it scrape a server each second, with our rules.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	program := installed.Need(t, "prometheus")
	rules, err := filepath.Abs("../xcaddy/prometheus/caddy-msa.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, p := t.TempDir(), &prometheus{t, freeAddress(t)}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs: [{job_name: caddy-msa, static_configs: [{targets: [%q]}]}]\n", rules, target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", &log)
		}
	})
	return p
}

// query is how many series an expression has. One that Prometheus does not take is an error of the test.
func (p *prometheus) query(expr string) (series int) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + "/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		return 0 // it has not started yet
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0
	}
	if answer.Error != "" {
		p.t.Fatalf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result)
}

// What a server says is as Prometheus wants it; while it has nothing to do no alert so much as waits to fire, and once it works
// each panel of the dashboard has something to show.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	promtool := installed.Need(t, "promtool")
	var hooked sync.Map
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hooked.Store(r.URL.Path, true) }))
	t.Cleanup(hook.Close)
	s := start(t, layout{global: "metrics", msa: `
	@late recipient_domain late.example
	deliver @late relay ` + freeAddress(t) + ` {
		tls off
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	copy maildir $DIR/archive {
		name archive
	}
	notify webhook ` + hook.URL + ` {
		secret ` + hookSecret + `
	}`})
	p := startPrometheus(t, s.admin)
	s.await("a scrape", func() bool { return p.query("count_over_time(caddy_msa_spool_up[1h]) > 8") == 1 })
	if n := p.query(`ALERTS{alertname!="MsaAbsent"}`); n > 0 { // absent before the first scrape, and only then
		t.Errorf("%d alerts at a server that has nothing to do", n)
	}
	s.await("the end of the only alert", func() bool { return p.query("ALERTS") == 0 })

	panels := expressions(t)
	for _, name := range []string{"Connections to the database", "Waits for a connection"} { // of spool postgres
		if len(panels[name]) == 0 {
			t.Errorf("no panel %s", name)
		}
		delete(panels, name)
	}
	// Each number is to rise after the first scrape, as on an evening of the first day.
	for _, to := range []string{"bob@example.net", "bob@late.example"} {
		s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", to, "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n")
	}
	s.mail("bob@example.net", 1)
	c, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.send("MAIL FROM:<eve@example.com>\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.want("55"); err != nil {
		t.Fatal(err)
	}
	missing := ""
	defer func() {
		if t.Failed() {
			t.Logf("without data: %s", missing)
		}
	}()
	s.await("data in each panel", func() bool {
		var without []string
		for name, all := range panels {
			// What was there once is not asked for again: on a busy machine a scrape may come to nothing.
			panels[name] = slices.DeleteFunc(all, func(expr string) bool { return p.query(expr) > 0 })
			for _, expr := range panels[name] {
				without = append(without, name+": "+expr)
			}
		}
		missing = strings.Join(without, "\n")
		return without == nil
	})
	if p.query(`increase(caddy_msa_delivery_seconds_count{kind="route"}[1h]) > 0`) == 0 {
		t.Error("the first delivery is no rise from 0")
	}
	_, text := s.adminRequest(http.MethodGet, "/metrics", "")
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
}

// expressions are those of the dashboard, by panel. A histogram's quantile is none where nothing came in the time that it is of.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../xcaddy/grafana/caddy-msa.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], strings.NewReplacer("$__rate_interval", "1h", "$server", ".*", "$spool", ".*").Replace(target.Expr))
		}
	}
	return all
}
