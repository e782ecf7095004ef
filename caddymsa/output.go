package caddymsa

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// output remembers that what a command prints could not be written, as to a disk that is full.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	if n, err = o.Writer.Write(p); err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// checked has a command fail whose output could not be written, whether it looks or not. A terminal is left to it as it is, since
// commands look at what it can do.
func checked(run func(cmd *cobra.Command, args []string) error) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		f, ok := cmd.OutOrStdout().(*os.File)
		if !ok || terminal.Is(f) {
			return run(cmd, args)
		}
		out := &output{Writer: f}
		cmd.SetOut(out)
		if err := run(cmd, args); err != nil {
			return err
		}
		return out.err
	}
}
