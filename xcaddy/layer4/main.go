// Command layer4 is the Caddy that `xcaddy build --with github.com/caddy-msa/caddy-msa --with
// github.com/caddy-msa/caddy-msa/modules/layer4msa --with github.com/mholt/caddy-l4` would make, built with
// nothing but Go: one port can have web sites and submission.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/caddy-msa/caddy-msa"
	_ "github.com/caddy-msa/caddy-msa/modules/layer4msa"
)

func main() {
	caddycmd.Main()
}
