// Command xcaddy is the Caddy that `xcaddy build --with
// github.com/caddy-msa/caddy-msa` would make, built with nothing but Go.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-msa/caddy-msa"
)

func main() {
	caddycmd.Main()
}
