package caddymsa

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// Who calls a command wrongly reads how it is called.
func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"rename"}, "msa rename takes <name> <new name>, as in: caddy msa rename alice bob"},
		{[]string{"rename", "alice"}, `msa rename takes <name> <new name>, and not "alice", as in: caddy msa rename alice bob`},
		{[]string{"list", "all", "of", "it"}, `msa list takes no arguments, and not "all of it"`},
		{[]string{"list", "--limit", "banana"}, `--limit: "banana" is not a whole number (for example 100)`},
		{[]string{"list", "--limit", "99999999999999999999"}, `--limit: "99999999999999999999" is too large`},
		{[]string{"list", "--wait", "soon"}, `--wait: "soon" is not a duration (for example 30s or 5m)`},
		{[]string{"list", "--json=perhaps"}, `--json: "perhaps" is not true or false`},
		{[]string{"list", "--colour"}, "unknown flag: --colour"},
		{[]string{"rename", "alice", "bob"}, ""},
	} {
		msa := &cobra.Command{Use: "msa", SilenceErrors: true, SilenceUsage: true}
		run := func(*cobra.Command, []string) error { return nil }
		list := &cobra.Command{Use: "list", Args: cobra.NoArgs, Example: "  caddy msa list", RunE: run}
		list.Flags().Int("limit", 1, "")
		list.Flags().Duration("wait", time.Second, "")
		list.Flags().Bool("json", false, "")
		msa.AddCommand(list, &cobra.Command{Use: "rename <name> <new name>", Args: cobra.ExactArgs(2), Example: "  caddy msa rename alice bob\n  caddy msa rename bob carol", RunE: run})
		finish(msa)
		msa.SetOut(io.Discard)
		msa.SetErr(io.Discard)
		msa.SetArgs(tt.args)
		got := ""
		if err := msa.Execute(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

// What could not be printed is a failure, also of a command that does not look.
func TestOutput(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{true, false} {
		msa := &cobra.Command{Use: "msa", SilenceErrors: true, SilenceUsage: true}
		msa.AddCommand(&cobra.Command{Use: "show", RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), "a secret that is not shown again")
			return nil
		}})
		finish(msa)
		msa.SetOut(out)
		msa.SetArgs([]string{"show"})
		if err := msa.Execute(); (err == nil) != open {
			t.Errorf("open %v: %v", open, err)
		}
		_ = out.Close()
	}
}
