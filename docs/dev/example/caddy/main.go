// Command caddy is a Caddy with caddy-msa and the module beside it: what xcaddy build makes.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-msa/caddy-msa"

	_ "example.org/ticket"
)

func main() {
	caddycmd.Main()
}
