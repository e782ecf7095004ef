package caddymsa

import (
	"sync"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

var commands struct {
	sync.Mutex
	add []func(msa *cobra.Command)
}

// RegisterCommand adds sub-commands to `caddy msa`. Modules call it from init.
func RegisterCommand(add func(msa *cobra.Command)) {
	commands.Lock()
	defer commands.Unlock()
	commands.add = append(commands.add, add)
}

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "msa",
		Short: "Works with the mail submission server",
		Long:  "Commands of the mail submission server, one each below.",
		CobraFunc: func(msa *cobra.Command) {
			commands.Lock()
			defer commands.Unlock()
			for _, add := range commands.add {
				add(msa)
			}
		},
	})
}
