package app

import (
	"github.com/caddy-msa/caddy-msa/caddymsa"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "msa",
		Short: "Works with the mail submission server",
		Usage: "<command>",
		Long: `Works with the mail submission server: sends a test message, steers what waits to be
delivered, tells what became of a message, manages users and the DNS records that go with it.
Where something is wrong, "caddy msa doctor" comes first: it looks for the cause and names the remedy.

Most commands ask the running Caddy through its admin API. It is found at --address, or where the
configuration named by --config says; without either it is Caddy's default, localhost:2019.

"caddy completion" writes completions for your shell, and "caddy manpage" manual pages; both know
these commands.`,
		CobraFunc: caddymsa.AddCommands,
	})
}
