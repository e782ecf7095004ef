package app

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
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
//		bounces    [@<name>] <sink> ...
//		received   full | no_client | hashed
//		newlines   refuse | normalize
//		limits     { <limit> <value> }
//		timeouts   { <timeout> <duration> }
//
//		# of the app, in one of the blocks only:
//		queue        { retry <durations...> ; expire <duration> ; warn <duration> ; dead_letters <duration> ; show_content ; workers <n> }
//		spool        <spool> ...
//		grace_period <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if prev, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(prev.Value, app); err != nil {
			return nil, err
		}
	}
	for d.Next() {
		if err := app.parseBlock(d.NextSegment()); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: "msa", Value: caddyconfig.JSON(app, nil)}, nil
}

func (app *App) parseBlock(tokens caddyfile.Segment) error {
	d := caddyfile.NewDispenser(tokens)
	d.Next() // consume the option name
	var hostname string
	if !d.AllArgs(&hostname) {
		return d.Err("msa takes the server's hostname, as in: msa msa.example.org { ... }")
	}
	if app.Servers[hostname] != nil {
		return d.Errf("there is an msa block for %s already; put both into one", hostname)
	}
	p := &serverParser{app: app, srv: &Server{Hostname: hostname}, matchers: make(map[string][]caddy.ModuleMap)}
	nesting := d.Nesting()
	if err := p.matcherDefinitions(caddyfile.NewDispenser(tokens)); err != nil {
		return err
	}
	for d.NextBlock(nesting) {
		if err := p.directive(d); err != nil {
			return err
		}
	}
	if app.Servers == nil {
		app.Servers = make(map[string]*Server)
	}
	app.Servers[hostname] = p.srv
	return nil
}

// serverParser reads one msa block.
type serverParser struct {
	app      *App
	srv      *Server
	matchers map[string][]caddy.ModuleMap
}

func (p *serverParser) directive(d *caddyfile.Dispenser) (err error) {
	srv := p.srv
	switch name := d.Val(); {
	case name == "listen":
		return appendArgs(d, &srv.Listen)
	case name == "listen_tls":
		return appendArgs(d, &srv.ListenTLS)
	case name == "listener_wrappers":
		return eachModule(d, "caddy.listeners", "wrapper", &srv.ListenerWrappersRaw)
	case name == "tls":
		return p.tls(d)
	case name == "auth":
		return p.auth(d)
	case name[0] == '@':
		skipSegment(d) // read already, since it may stand after its use
		return nil
	case name == "policy":
		policy := new(PolicyConfig)
		if policy.MatcherSetsRaw, err = p.matcherAndModule(d, "sender_identity", &policy.LogOnly); err != nil {
			return err
		}
		policy.PolicyRaw, err = parseModule(d, "msa.policies", "module")
		srv.Policies = append(srv.Policies, policy)
	case name == "deliver":
		route, err := p.route(d, "maildir")
		if err != nil {
			return err
		}
		srv.Routes = append(srv.Routes, route)
	case name == "bounces":
		if srv.Bounces != nil {
			return d.Err("bounces stands twice; use one")
		}
		srv.Bounces, err = p.route(d, "relay")
	case name == "received":
		return oneWord(d, &srv.Received, "full", "no_client", "hashed")
	case name == "newlines":
		return oneWord(d, &srv.Newlines, "refuse", "normalize")
	case name == "limits":
		return p.limits(d)
	case name == "timeouts":
		return p.timeouts(d)
	case name == "queue":
		return p.queue(d)
	case name == "spool":
		return p.spool(d)
	case name == "grace_period":
		if p.app.GracePeriod != 0 {
			return d.Err("grace_period stands twice; it belongs to the app, so one of the msa blocks sets it")
		}
		return duration(d, &p.app.GracePeriod)
	default:
		return d.Errf("unknown directive %q in msa; there are listen, listen_tls, listener_wrappers, tls, auth, @matcher, policy, deliver, bounces, received, newlines, limits, timeouts, queue, spool and grace_period", name)
	}
	return err
}

// matched reads [@matcher] [log_only] <module> ...; without logOnly there is no such word.
func (p *serverParser) matcherAndModule(d *caddyfile.Dispenser, example string, logOnly *bool) (sets []caddy.ModuleMap, err error) {
	directive := d.Val()
	if !d.NextArg() {
		return nil, d.Errf("%s takes a module, as in: %s %s", directive, directive, example)
	}
	if name := d.Val(); name[0] == '@' {
		var defined bool
		if sets, defined = p.matchers[name]; !defined {
			return nil, d.Errf("matcher %s is not defined in this msa block", name)
		}
		if !d.NextArg() {
			return nil, d.Errf("%s takes a module after the matcher, as in: %s %s %s", directive, directive, name, example)
		}
	}
	if logOnly != nil && d.Val() == "log_only" {
		if *logOnly = d.NextArg(); !*logOnly {
			return nil, d.Errf("%s takes a module after log_only, as in: %s log_only %s", directive, directive, example)
		}
	}
	return sets, nil
}
