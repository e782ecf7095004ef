package caddymsa

import (
	"sync"

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

// AddCommands gives msa the sub-commands that were registered. The app calls it.
func AddCommands(msa *cobra.Command) {
	commands.Lock()
	defer commands.Unlock()
	for _, add := range commands.add {
		add(msa)
	}
}
