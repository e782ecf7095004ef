// Package directive is the Caddyfile's global option msa, which sets up the app.
package directive

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("msa", parseGlobalOption)
}

// parseGlobalOption sets up the app from Caddyfile tokens; several msa blocks add
// up, one server each. Syntax:
//
//	msa <hostname> {
//		listen     <addresses...>
//		listen_tls <addresses...>
//		listener_wrappers { ... }
//		tls        internal | <certificate> <key> | { ... }
//		auth {
//			mechanisms          <names...>
//			realms              <realms...>
//			digest_hosts        <names...>
//			announce_before_tls [<names...>]
//			reauth              <duration>
//			<backend>           ...
//		}
//		@<name>    <matcher> ... | { <matcher> ... }
//		policy     [@<name>] [log_only] <policy> ...
//		deliver    [@<name>] <sink> ... { queue { ... } ; unqueued [<timeout>] ; address_map <map> ... }
//		copy       [@<name>] <sink> ... { name <name> ; queue { ... } ; to <address> ; sender <address> ; notifications }
//		notify     [@<name>] <notifier> ... { name <name> ; on <events...> ; match ... ; concurrency <n> }
//		bounces    [@<name>] <sink> ...
//		received   full | no_client | hashed
//		newlines   refuse | normalize
//		limits     { <limit> <value> }
//		timeouts   { <timeout> <duration> }
//
//		# of the app, in one of the blocks only:
//		queue        { retry <durations...> ; expire <duration> ; warn <duration> ; dead_letters <duration> ; show_content ; workers <n> ; lane_series <n>|off }
//		spool        <spool> ...
//		journal      off | { keep <duration> ; max_size <size> ; off }
//		grace_period <duration>
//		tracing
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	msa := new(app.App)
	if prev, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(prev.Value, msa); err != nil {
			return nil, err
		}
	}
	for d.Next() {
		if err := parseServer(msa, d.NextSegment()); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: "msa", Value: caddyconfig.JSON(msa, nil)}, nil
}

func parseServer(msa *app.App, tokens caddyfile.Segment) error {
	d := caddyfile.NewDispenser(tokens)
	d.Next() // consume the option name
	var hostname string
	if !d.AllArgs(&hostname) {
		return d.Err("msa takes the server's hostname, as in: msa msa.example.org { ... }")
	}
	if err := checkHostname(d, hostname); err != nil {
		return err
	}
	for other := range msa.Servers {
		if strings.EqualFold(other, hostname) {
			return d.Errf("there is an msa block for %s already; put both into one", other)
		}
	}
	if msa.Servers == nil {
		msa.Servers = make(map[string]*app.Server)
	}
	p := &serverParser{app: msa, srv: &app.Server{Hostname: hostname}, matchers: make(map[string][]caddy.ModuleMap)}
	msa.Servers[hostname] = p.srv
	if err := p.matcherDefinitions(caddyfile.NewDispenser(tokens)); err != nil {
		return err
	}
	if d.CountRemainingArgs() == 0 && !opensBlock(tokens) {
		return d.Errf("msa %s has no block, or an empty one: the opening brace { goes at the end of this line", hostname)
	}
	settings := p.settings()
	if err := missingBrace(conf.Lines(d, p.other, settings...), conf.Names(settings)); err != nil {
		return err
	}
	places.RememberServer(caddyconfig.JSON(p.srv, nil), linesOf(caddyfile.NewDispenser(tokens)))
	return nil
}

func opensBlock(tokens caddyfile.Segment) bool { return len(tokens) > 2 && tokens[2].Text == "{" }

// unknownName is what a block says that does not know a name.
var unknownName = regexp.MustCompile(`unknown [a-z ]+ "([^"]*)"`)

// missingBrace adds to an error about a setting that a block does not know, and the msa block does, that
// the block was not closed.
func missingBrace(err error, ours []string) error {
	if err == nil {
		return nil
	}
	m := unknownName.FindStringSubmatch(err.Error())
	if m == nil || !slices.Contains(ours, m[1]) {
		return err
	}
	return fmt.Errorf("%s belongs in the msa block: a closing brace } is missing above it (%w)", m[1], err)
}

// serverParser reads one msa block.
type serverParser struct {
	app      *app.App
	srv      *app.Server
	matchers map[string][]caddy.ModuleMap
}

// The app's settings may stand in one of the blocks only.
const ofTheApp = "%s is specified twice; it belongs to the app, so only one of the msa blocks sets it"

func (p *serverParser) settings() []conf.Setting {
	srv := p.srv
	return []conf.Setting{
		conf.Lists("listen", &srv.Listen),
		conf.Lists("listen_tls", &srv.ListenTLS),
		conf.Func("listener_wrappers", func(d *caddyfile.Dispenser) error {
			return eachModule(d, "listener wrapper", "caddy.listeners", "wrapper", &srv.ListenerWrappersRaw)
		}),
		conf.Func("tls", p.tls),
		conf.Func("auth", p.auth),
		conf.Each("policy", p.policy),
		conf.Each("deliver", p.deliver),
		conf.Each("copy", p.copy),
		conf.Each("notify", p.notify),
		conf.Func("bounces", p.bounces),
		conf.Word("received", &srv.Received, "full", "no_client", "hashed"),
		conf.Word("newlines", &srv.Newlines, "refuse", "normalize"),
		conf.Func("limits", p.limits),
		conf.Func("timeouts", p.timeouts),
		conf.Func("queue", p.queue),
		conf.Func("spool", p.spool),
		conf.Func("journal", p.journal),
		conf.Func("grace_period", func(d *caddyfile.Dispenser) error {
			if p.app.GracePeriod != 0 {
				return d.Errf(ofTheApp, "grace_period")
			}
			return conf.Parse(d, conf.Value("grace_period", &p.app.GracePeriod))
		}),
		conf.Func("tracing", func(d *caddyfile.Dispenser) error {
			if p.app.Tracing != nil {
				return d.Errf(ofTheApp, "tracing")
			}
			p.app.Tracing = new(app.Tracing)
			if d.NextArg() {
				return d.Err("tracing takes no arguments: where spans go is said by environment variables, such as OTEL_EXPORTER_OTLP_ENDPOINT")
			}
			return conf.Block(d)
		}),
	}
}

// other passes over matchers: they were read already, as they may stand after their use.
func (p *serverParser) other(d *caddyfile.Dispenser) (known bool, err error) {
	if !strings.HasPrefix(d.Val(), "@") {
		return false, nil
	}
	skipSegment(d)
	return true, nil
}

func (p *serverParser) policy(d *caddyfile.Dispenser) (err error) {
	at := place(d)
	policy := new(app.PolicyConfig)
	if policy.MatcherSetsRaw, err = p.matcherAndModule(d, "sender_identity", &policy.LogOnly); err != nil {
		return err
	}
	policy.PolicyRaw, err = parseModule(d, "policy", "msa.policies", "module")
	places.Remember(policy.PolicyRaw, at)
	p.srv.Policies = append(p.srv.Policies, policy)
	return err
}

func (p *serverParser) deliver(d *caddyfile.Dispenser) error {
	route, err := p.route(d, "maildir")
	p.srv.Routes = append(p.srv.Routes, route)
	return err
}

func (p *serverParser) bounces(d *caddyfile.Dispenser) (err error) {
	if p.srv.Bounces, err = p.route(d, "relay"); err == nil && p.srv.Bounces.Unqueued != nil {
		return d.Err("unqueued is for deliver: a notification has no client that waits for it")
	}
	return err
}

// matcherAndModule reads [@matcher] [log_only] <module> ...; without logOnly there is no such word.
func (p *serverParser) matcherAndModule(d *caddyfile.Dispenser, example string, logOnly *bool) (sets []caddy.ModuleMap, err error) {
	directive := d.Val()
	if !d.NextArg() {
		return nil, d.Errf("%s takes a module, as in: %s %s", directive, directive, example)
	}
	if name := d.Val(); strings.HasPrefix(name, "@") {
		var defined bool
		if sets, defined = p.matchers[name]; !defined {
			return nil, d.Errf("matcher %s is not defined in this msa block%s", name, conf.DidYouMean(name, p.matcherNames()))
		}
		if !d.NextArg() {
			return nil, d.Errf("%s takes a module after the matcher, as in: %s %s %s", directive, directive, name, example)
		}
	}
	if logOnly != nil && d.Val() == "log_only" {
		if *logOnly = d.NextArg(); !*logOnly {
			return nil, d.Errf("%s takes a module after log_only, as in: %s log_only %s", directive, directive, example)
		}
		if name := d.Val(); strings.HasPrefix(name, "@") {
			return nil, d.Errf("a matcher comes before log_only, as in: %s %s log_only %s", directive, name, example)
		}
	}
	return sets, nil
}

func (p *serverParser) matcherNames() []string {
	names := make([]string, 0, len(p.matchers))
	for name := range p.matchers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
