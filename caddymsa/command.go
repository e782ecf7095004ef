package caddymsa

import (
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
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

// CommandGroup returns the sub-command of that name, for sub-commands of several modules, and makes it if it is not there yet.
func CommandGroup(msa *cobra.Command, name, short string) *cobra.Command {
	for _, c := range msa.Commands() {
		if c.Name() == name {
			return c
		}
	}
	c := &cobra.Command{Use: name, Short: short}
	msa.AddCommand(c)
	return c
}

// AddCommands gives msa the sub-commands that were registered. The app calls it. What a command returns as its error is printed
// without control characters, since it may be what a stranger said; a sub-command that is not there is an error.
func AddCommands(msa *cobra.Command) {
	commands.Lock()
	defer commands.Unlock()
	for _, add := range commands.add {
		add(msa)
	}
	finish(msa)
}

func finish(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
	cmd.SetFlagErrorFunc(flagError)
	if cmd.Args != nil {
		cmd.Args = explained(cmd.Args)
	}
	if !cmd.Runnable() {
		cmd.RunE = group
	}
	if run := checked(cmd.RunE); cmd.RunE != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return terminal.Error(run(cmd, args)) }
	}
}

// group is a command that only has others below it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
}
