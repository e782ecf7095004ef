package app

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	rulesFile     = "../../xcaddy/prometheus/caddy-msa.rules.yml"
	dashboardFile = "../../xcaddy/grafana/caddy-msa.json"
)

// provocations are a cause for each alert: what happens, and which number shows that it has.
var provocations = map[string]struct {
	cause func(m *moves)
	shows string // a metric that is then as it is to be, or a counter that has risen so much
	is    func(float64) bool
}{
	"MsaSpoolDown":       {func(m *moves) { m.mail.spool.Cut() }, "caddy_msa_spool_up", is(0)},
	"MsaSpoolEngineDown": {func(m *moves) { m.mail.change(func() { m.mail.measures.engine.Up = false }) }, "caddy_msa_spool_engine_up", is(0)},
	"MsaSpoolNearlyFull": {func(m *moves) { m.mail.change(func() { m.mail.measures.free = 100 << 20 }) }, "caddy_msa_spool_free_octets", is(100 << 20)},
	"MsaSpoolDamaged":    {func(m *moves) { m.mail.change(func() { m.mail.measures.damaged = 1 }) }, "caddy_msa_spool_damaged_messages", is(1)},
	"MsaSpoolDraining": {func(m *moves) {
		m.deposit("LEFT", "", time.Now(), "main")
		m.load(m.alerting(), withAppField("spool", map[string]any{"module": "measured", "world": m.mail.id, "disk": "new"}))
	}, "caddy_msa_spool_draining_messages", is(1)},
	"MsaOldestMessage": {func(m *moves) { m.deposit("OLD", "", time.Now().Add(-5*time.Hour), "main") }, "caddy_msa_queue_oldest_seconds", above(4 * 3600)},
	"MsaLaneDown": {func(m *moves) {
		m.mail.change(func() { m.mail.sink = failing(queue.Unreachable(errors.New("connection refused"))) })
		m.session().submit("bob@example.net")
		m.becomes("caddy_msa_lane_up", is(0), "lane", "main")
	}, "caddy_msa_queue_waiting", is(1)},
	"MsaCopyLost": {func(m *moves) {
		m.mail.change(func() { m.mail.sink = failing(errPermanent()) })
		m.session().submit("bob@copied.example")
	}, "caddy_msa_copies_failed_total", above(0)},
	"MsaNotifierBehind": {func(m *moves) {
		m.mail.change(func() { m.mail.notify = &notify.UnreachableError{Cause: errors.New("connection refused")} })
		m.deposit("TOLD", "", time.Now().Add(-time.Hour), "main")
	}, "caddy_msa_notify_lag_seconds", above(900)},
	"MsaCertificateExpires": {func(m *moves) {
		m.validity("cert", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(-1000 * time.Hour) }, "msa.example.org")
		m.load(m.alerting())
	}, "caddy_msa_certificate_lifetime_seconds", above(1000 * 3600)},
	"MsaPasswordsGuessed":  {func(m *moves) { m.guess(caddymsa.ErrWrongPassword, "535", 20) }, "caddy_msa_auth_total", above(19)},
	"MsaBackendCannotTell": {func(m *moves) { m.guess(errors.New("out of touch"), "454", 1) }, "caddy_msa_auth_backend_failures_total", above(0)},
}

// guess tries to log in so often.
func (m *moves) guess(backend error, reply string, times int) {
	m.mail.change(func() { m.mail.backend = backend })
	c := m.connectTLS()
	c.do("EHLO x", "250")
	for range times {
		c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00wrong"), reply)
	}
}

// alerting is a configuration in which everything is well.
func (in *instance) alerting() func(server, app map[string]any) {
	return func(server, app map[string]any) {
		server["routes"] = []any{map[string]any{"name": "main", "sink": in.fake("main")}}
		server["copies"] = []any{map[string]any{"name": "archive", "sink": in.fake("archive"), "match": []any{map[string]any{"domain": []string{"copied.example"}}}}}
		server["notify"] = []any{map[string]any{"name": "hook", "on": []string{"accepted"}, "notifier": map[string]any{"module": "fake", "world": in.mail.id}}}
		server["limits"] = map[string]any{"auth_failures": 100}
		server["auth"].(map[string]any)["throttle"] = map[string]any{"off": true}
		app["queue"] = map[string]any{"probe": []string{"1h", "1h"}}
		app["spool"] = map[string]any{"module": "measured", "world": in.mail.id}
	}
}

// Each alert fires when its cause has been there for a while, as promtool reckons from what is scraped, and none when
// all is well. Its rule has a paragraph of what to do.
func TestAlerts(t *testing.T) {
	promtool := installed.Need(t, "promtool")
	if out, err := exec.Command(promtool, "check", "rules", rulesFile).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(promtool, "check", "config", "--syntax-only", "../../xcaddy/prometheus/scrape.example.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllSubmatch(rules, -1) {
		name := string(m[1])
		names = append(names, name)
		if !strings.Contains(string(manual), "\n### "+name+"\n\n") || !strings.Contains(string(rules), "operations.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s has no paragraph in docs/operations.md, or does not link to it", name)
		}
		if _, ok := provocations[name]; !ok && name != "MsaAbsent" {
			t.Errorf("nothing provokes %s", name)
		}
	}
	fires(t, promtool, nil, nil, "MsaAbsent")
	var well sync.Once
	for name, p := range provocations {
		if !slices.Contains(names, name) {
			t.Errorf("there is no alert %s", name)
		}
		t.Run(name, func(t *testing.T) {
			in := newInstance(t)
			m := &moves{in, make(map[string]bool)}
			in.mail.measures = measures{free: 10 << 30, reserve: 64 << 20, engine: queue.Engine{Up: true}}
			in.load(in.alerting())
			before := scrape(t)
			well.Do(func() { fires(t, promtool, before, before, "") })
			p.cause(m)
			was := 0.0
			if strings.HasSuffix(p.shows, "_total") {
				was, _ = sum(before, p.shows)
			}
			m.becomes(p.shows, func(v float64) bool { return p.is(v - was) })
			after := scrape(t)
			if name != "MsaNotifierBehind" { // a notifier may not have heard yet of what is said to be old
				m.await("what notifiers are told", func() bool {
					lag, _ := sum(after, "caddy_msa_notify_lag_seconds")
					if lag < 900 {
						return true
					}
					after = scrape(t)
					return false
				})
			}
			fires(t, promtool, before, after, name)
		})
	}
}

// fires has promtool reckon which alerts fire in the end, if for an hour, or a day where that is what the rule waits for,
// gauges are as they are after, and counters rise each minute as they did from before to after. "" is none.
func fires(t *testing.T, promtool string, before, after []sample, alert string) {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	interval, until := "1m", "1h"
	if alert == "MsaSpoolDraining" {
		interval, until = "5m", "25h"
	}
	var series []any
	for _, s := range after {
		values := fmt.Sprintf("%v+0x310", s.value)
		if strings.HasSuffix(s.name, "_total") {
			was := 0.0
			for _, b := range before {
				if b.name == s.name && fmt.Sprint(b.labels) == fmt.Sprint(s.labels) {
					was = b.value
				}
			}
			values = fmt.Sprintf("%v+%vx310", was, s.value-was)
		}
		labels := []string{`instance="one"`}
		for name, v := range s.labels {
			labels = append(labels, fmt.Sprintf("%s=%q", name, v))
		}
		series = append(series, map[string]any{"series": s.name + "{" + strings.Join(labels, ",") + "}", "values": values})
	}
	var want []any
	if alert != "" {
		want = []any{map[string]any{"labels": fmt.Sprintf(`{alertname=%q}`, alert), "value": 1}}
	}
	test, err := json.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": interval, "tests": []any{map[string]any{
		"interval": interval, "input_series": series, "promql_expr_test": []any{map[string]any{
			"expr": `count by (alertname) (ALERTS{alertstate="firing"}) > bool 0`, "eval_time": until, "exp_samples": want}}}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.yml") // JSON is YAML
	if err := os.WriteFile(file, test, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("with %q alone:\n%s", alert, out)
	}
}

// A single question that a backend could not answer wakes nobody, as one that is away does.
func TestAlertsOnOne(t *testing.T) {
	promtool := installed.Need(t, "promtool")
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	test := fmt.Sprintf(`rule_files: [%q]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: 'caddy_msa_auth_backend_failures_total{server="a", backend="ldap"}', values: '0x10 1x60'}]
    promql_expr_test: [{expr: 'count_over_time(ALERTS{alertname="MsaBackendCannotTell", alertstate="firing"}[1h])', eval_time: 1h, exp_samples: []}]
`, rules)
	file := filepath.Join(t.TempDir(), "test.yml")
	if err := os.WriteFile(file, []byte(test), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
}

// Rules and dashboard ask for nothing that there is not.
func TestMetricsNamed(t *testing.T) {
	known := make(map[string]bool)
	for _, name := range describedMetrics() {
		for _, suffix := range []string{"", "_count", "_sum", "_bucket"} {
			known[name+suffix] = true
		}
	}
	for _, file := range []string{rulesFile, dashboardFile, "../../docs/operations.md", "../../docs/metrics.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`caddy_msa_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metrics", file)
		}
		for _, name := range names {
			if !known[name] && name != "caddy_msa_lane_" {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// The dashboard is JSON whose expressions Prometheus understands.
func TestDashboard(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules []any
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$server", ".*", "$spool", ".*").Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: %s has a variable that there is not", p.Title, target.Expr)
			}
			rules = append(rules, map[string]any{"record": fmt.Sprintf("panel:%d", len(rules)), "expr": expr})
		}
	}
	if len(rules) < 20 {
		t.Errorf("there are %d expressions", len(rules))
	}
	out, _ := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(installed.Need(t, "promtool"), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
