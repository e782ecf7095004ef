// Command xcaddy is the binary that `xcaddy build --with github.com/caddy-msa/caddy-msa` would make.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
