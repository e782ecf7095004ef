package authhttp

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// settings are for the error.
const settings = "timeout, bearer, hmac_key, ca, server_name, client_certificate, socket, insecure_plaintext, lookup, credentials, cache, decoy and concurrency"

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	http <url> {
//		timeout            <duration>
//		bearer             <token>
//		hmac_key           <key>
//		ca                 <file...>
//		server_name        <name>
//		client_certificate <certificate> <key>
//		socket             <path>
//		insecure_plaintext
//		lookup             on|off
//		credentials        on|off
//		cache              <duration>|off
//		decoy              <scheme or credential...>
//		concurrency     <number>
//	}
func (h *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if !d.AllArgs(&h.URL) {
		return d.Err("http takes the URL of a service, as in http https://auth.example.org/msa")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := h.setting(d); err != nil {
			return err
		}
	}
	return nil
}

func (h *HTTP) setting(d *caddyfile.Dispenser) (err error) {
	name := d.Val()
	texts := map[string]*string{"bearer": &h.Bearer, "hmac_key": &h.HMACKey, "server_name": &h.ServerName, "socket": &h.Socket}
	lists := map[string]*[]string{"ca": &h.CA, "decoy": &h.Decoy}
	switch {
	case texts[name] != nil:
		if !d.AllArgs(texts[name]) {
			return d.Errf("%s takes one value", name)
		}
	case lists[name] != nil:
		args := d.RemainingArgs()
		if *lists[name] = append(*lists[name], args...); len(args) == 0 {
			return d.Errf("%s takes one or more values", name)
		}
	case name == "client_certificate":
		if !d.AllArgs(&h.ClientCertificate, &h.ClientKey) {
			return d.Err("client_certificate takes a certificate and a key")
		}
	case name == "cache":
		if h.Cache, err = tableauth.UnmarshalCache(d); h.Cache < 0 {
			h.Cache = 0
		}
		return err
	case name == "insecure_plaintext":
		h.InsecurePlaintext = true
		if d.NextArg() {
			return d.Err("insecure_plaintext takes no value")
		}
	case name == "lookup" || name == "credentials":
		var arg string
		if !d.AllArgs(&arg) || arg != "on" && arg != "off" {
			return d.Errf("%s is on or off", name)
		}
		if name == "lookup" {
			h.NoLookup = arg == "off"
		} else {
			h.Credentials = arg == "on"
		}
	case name == "timeout" || name == "concurrency":
		return h.number(d, name)
	default:
		return d.Errf("unknown setting %q; there are %s", name, settings)
	}
	return nil
}

func (h *HTTP) number(d *caddyfile.Dispenser, name string) (err error) {
	var arg string
	if !d.AllArgs(&arg) {
		return d.Errf("%s takes one value", name)
	}
	if name == "timeout" {
		timeout, err := caddy.ParseDuration(arg)
		if err != nil || timeout <= 0 {
			return d.Errf("timeout: %q is no duration, as 5s is", arg)
		}
		h.Timeout = caddy.Duration(timeout)
		return nil
	}
	if h.Concurrency, err = strconv.Atoi(strings.TrimSpace(arg)); err != nil || h.Concurrency <= 0 {
		return d.Errf("concurrency: %q is no number above 0", arg)
	}
	return nil
}
