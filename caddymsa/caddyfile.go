package caddymsa

import (
	"encoding/json"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
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
//		policy     [@<name>] <policy> ...
//		deliver    [@<name>] <sink> ...
//		bounces    [@<name>] <sink> ...
//		received   full | no_client | hashed
//		newlines   refuse | normalize
//		limits     { <limit> <value> }
//		timeouts   { <timeout> <duration> }
//
//		# of the app, in one of the blocks only:
//		queue        { retry <durations...> ; expire <duration> ; workers <n> }
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
		policy.MatcherSetsRaw, policy.PolicyRaw, err = p.matched(d, "msa.policies", "sender_identity")
		srv.Policies = append(srv.Policies, policy)
	case name == "deliver":
		route := new(RouteConfig)
		route.MatcherSetsRaw, route.SinkRaw, err = p.matched(d, "msa.sinks", "maildir")
		srv.Routes = append(srv.Routes, route)
	case name == "bounces":
		if srv.Bounces != nil {
			return d.Err("bounces stands twice; use one")
		}
		srv.Bounces = new(RouteConfig)
		srv.Bounces.MatcherSetsRaw, srv.Bounces.SinkRaw, err = p.matched(d, "msa.sinks", "relay")
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

// matched reads [@matcher] <module> ...
func (p *serverParser) matched(d *caddyfile.Dispenser, namespace, example string) ([]caddy.ModuleMap, json.RawMessage, error) {
	directive := d.Val()
	if !d.NextArg() {
		return nil, nil, d.Errf("%s takes a module, as in: %s %s", directive, directive, example)
	}
	var sets []caddy.ModuleMap
	if name := d.Val(); name[0] == '@' {
		var defined bool
		if sets, defined = p.matchers[name]; !defined {
			return nil, nil, d.Errf("matcher %s is not defined in this msa block", name)
		}
		if !d.NextArg() {
			return nil, nil, d.Errf("%s takes a module after the matcher, as in: %s %s %s", directive, directive, name, example)
		}
	}
	mod, err := parseModule(d, namespace, "module")
	return sets, mod, err
}

func (p *serverParser) limits(d *caddyfile.Dispenser) error {
	l := &p.srv.Limits
	counts := map[string]*int{
		"recipients": &l.Recipients, "connections": &l.Connections, "connections_per_ip": &l.ConnectionsPerIP,
		"unauthenticated": &l.Unauthenticated, "bad_commands": &l.BadCommands, "auth_failures": &l.AuthFailures,
	}
	return block(d, func(name string) error {
		if name == "message_size" {
			return size(d, &l.MessageSize)
		}
		if counts[name] == nil {
			return d.Errf("unknown limit %q; there are message_size, recipients, connections, connections_per_ip, unauthenticated, bad_commands and auth_failures", name)
		}
		return count(d, counts[name])
	})
}

func (p *serverParser) timeouts(d *caddyfile.Dispenser) error {
	t := &p.srv.Timeouts
	known := map[string]*caddy.Duration{
		"handshake": &t.Handshake, "before_auth": &t.BeforeAuth, "command": &t.Command, "data": &t.Data, "session": &t.Session,
	}
	return block(d, func(name string) error {
		if known[name] == nil {
			return d.Errf("unknown timeout %q; there are handshake, before_auth, command, data and session", name)
		}
		return duration(d, known[name])
	})
}

func (p *serverParser) queue(d *caddyfile.Dispenser) error {
	if p.app.Queue != nil {
		return d.Err("queue stands twice; it belongs to the app, so one of the msa blocks sets it")
	}
	q := new(QueueConfig)
	p.app.Queue = q
	return block(d, func(name string) error {
		switch name {
		case "retry":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			for _, arg := range args {
				dur, err := caddy.ParseDuration(arg)
				if err != nil {
					return d.Errf("retry: %v", err)
				}
				q.Retry = append(q.Retry, caddy.Duration(dur))
			}
			return nil
		case "expire":
			return duration(d, &q.Expire)
		case "workers":
			return count(d, &q.Workers)
		}
		return d.Errf("unknown queue setting %q; there are retry, expire and workers", name)
	})
}

func (p *serverParser) spool(d *caddyfile.Dispenser) (err error) {
	if p.app.SpoolRaw != nil {
		return d.Err("spool stands twice; it belongs to the app, so one of the msa blocks sets it")
	}
	if !d.NextArg() {
		return d.Err("spool takes a module, as in: spool file /var/spool/caddy-msa")
	}
	p.app.SpoolRaw, err = parseModule(d, "msa.spools", "module")
	return err
}

// parseModule reads the module whose name the dispenser stands at.
func parseModule(d *caddyfile.Dispenser, namespace, inlineKey string) (json.RawMessage, error) {
	name := d.Val()
	unm, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unm, inlineKey, name, nil), nil
}

// eachModule reads a block of modules.
func eachModule(d *caddyfile.Dispenser, namespace, inlineKey string, into *[]json.RawMessage) error {
	return block(d, func(string) error {
		mod, err := parseModule(d, namespace, inlineKey)
		*into = append(*into, mod)
		return err
	})
}

// block calls line for each line of the directive's block.
func block(d *caddyfile.Dispenser, line func(name string) error) error {
	directive := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes a block: %s { ... }", directive, directive)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := line(d.Val()); err != nil {
			return err
		}
	}
	return nil
}

func appendArgs(d *caddyfile.Dispenser, into *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*into = append(*into, args...)
	return nil
}

func oneWord(d *caddyfile.Dispenser, into *string, words ...string) error {
	name := d.Val()
	if !d.AllArgs(into) {
		return d.ArgErr()
	}
	if err := oneOf(name, into, words...); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func duration(d *caddyfile.Dispenser, into *caddy.Duration) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	dur, err := caddy.ParseDuration(arg)
	if err != nil {
		return d.Errf("%s: %v", name, err)
	}
	*into = caddy.Duration(dur)
	return nil
}

func count(d *caddyfile.Dispenser, into *int) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q is not a number above 0", name, arg)
	}
	*into = n
	return nil
}

// size takes octets, or a number with KiB, MiB ...
func size(d *caddyfile.Dispenser, into *int64) error {
	name := d.Val()
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > 1<<50 {
		return d.Errf("%s: %q is not a size; write octets, or a number with KiB or MiB, as in 50MiB", name, arg)
	}
	*into = int64(n)
	return nil
}

// skipSegment passes over a directive with its block.
func skipSegment(d *caddyfile.Dispenser) {
	_ = d.NextSegment()
}

// matcherDefinitions reads all @name lines of a block, for they may stand after their use.
func (p *serverParser) matcherDefinitions(d *caddyfile.Dispenser) error {
	d.Next() // consume the option name
	d.RemainingArgs()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name[0] != '@' {
			skipSegment(d)
			continue
		}
		if _, defined := p.matchers[name]; defined {
			return d.Errf("matcher %s is defined twice", name)
		}
		set, err := parseMatcherSet(d)
		if err != nil {
			return err
		}
		p.matchers[name] = []caddy.ModuleMap{set}
	}
	return nil
}

// parseMatcherSet reads <matcher> ... on the line of the name, or a block of them.
func parseMatcherSet(d *caddyfile.Dispenser) (caddy.ModuleMap, error) {
	name := d.Val()
	set := make(caddy.ModuleMap)
	one := func() error {
		matcher := d.Val()
		if set[matcher] != nil {
			return d.Errf("matcher %s: %s stands twice; put all values on one line", name, matcher)
		}
		unm, err := caddyfile.UnmarshalModule(d, "msa.matchers."+matcher)
		if err != nil {
			return err
		}
		set[matcher] = caddyconfig.JSON(unm, nil)
		return nil
	}
	if d.NextArg() {
		return set, one()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := one(); err != nil {
			return nil, err
		}
	}
	if len(set) == 0 {
		return nil, d.Errf("matcher %s is empty, as it takes a matcher: %s recipient_domain example.org", name, name)
	}
	return set, nil
}
