package app

import (
	"github.com/caddy-msa/caddy-msa/caddymsa"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "msa",
		Short:     "Works with the mail submission server",
		Long:      "Commands of the mail submission server, one each below.",
		CobraFunc: caddymsa.AddCommands,
	})
}
