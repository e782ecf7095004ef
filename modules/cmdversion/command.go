// Package cmdversion is `caddy msa version`: which version of this server is in the binary.
package cmdversion

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

// modulePath is what the module is called in go.mod, of this binary or of one that was built with xcaddy.
const modulePath = "github.com/caddy-msa/caddy-msa"

// linked is the version where Go cannot see it, since .git is not among the sources: in the image. xcaddy/Dockerfile has
// the linker set it.
var linked string

func newCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Prints the version of the mail submission server",
		Long: `Prints the version of the mail submission server, of Caddy and of Go. "caddy version" is
Caddy's alone, and "caddy build-info" has all that the binary was built of.`,
		Example: "  caddy msa version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			caddyVersion, _ := caddy.Version()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "caddy-msa %s, Caddy %s, %s, %s/%s\n", version(info), caddyVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// version is the module's, where the binary knows it: "(devel)" and the commit where it was built in a clone
// without a tag.
func version(info *debug.BuildInfo) string {
	if linked != "" {
		return linked
	}
	if info == nil {
		return "(unknown)"
	}
	if info.Main.Path != modulePath { // xcaddy's main is another module
		for _, dep := range info.Deps {
			if dep.Path == modulePath {
				if dep.Replace != nil {
					return cmp.Or(dep.Replace.Version, dep.Version+" (replaced by "+dep.Replace.Path+")")
				}
				return dep.Version
			}
		}
		return "(unknown)"
	}
	text := cmp.Or(info.Main.Version, "(devel)")
	if text != "(devel)" {
		return text
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value
		}
	}
	return text
}
