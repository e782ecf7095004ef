// Package cmduser is `caddy msa user`: it makes lines of a users file.
package cmduser

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/prompt"
	"github.com/caddy-msa/caddy-msa/caddymsa/usersfile"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand(), quotaCommand()) })
}

// options are the command's flags.
type options struct {
	file          string
	sql           string
	schemes       []string
	realm         string
	addresses     []string
	passwordStdin bool
	caseExact     bool
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "user <name>",
		Short: "Adds, lists, disables, renames and deletes users; makes app passwords",
		Long: `Asks for a password and writes the user's line into a users file; without
--file it prints the line. If the user has a line already, whether its name is in upper or
lower case, the password in it is replaced, and the addresses if any are given; the rest
of it and all other lines stay as they are. A user whose name is one of the commands below
is added under another name and renamed. The server reads the file again by itself. With
--sql it prints a statement for the table of msa.auth.sql instead.

The schemes say which mechanisms the user can log in with: any serves PLAIN and
LOGIN, SCRAM-SHA-256 serves SCRAM, DIGEST-MD5 serves DIGEST-MD5, PLAIN serves all.
DIGEST-MD5 is Dovecot's for a name user@realm; with --realm, it is for the whole
name in that realm, which for this server is its hostname unless configured.`,
		Example: "  caddy msa user alice@example.org --file users.passwd\n" +
			"  caddy msa user scanner --file users.passwd --scheme ARGON2ID,DIGEST-MD5 --realm msa.example.org --addresses @example.org\n" +
			"  caddy msa user alice@example.org --sql postgres | psql mail",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			if cmd.Flags().Changed("file") && o.file == "" {
				return errors.New("--file is empty; without it the line is printed")
			}
			if err := o.check(args[0]); err != nil { // before it asks
				return err
			}
			password, err := o.password(cmd.InOrStdin())
			if err != nil {
				return err
			}
			name, fold := args[0], names.Folded
			if o.caseExact {
				fold = names.Exact
			}
			if o.file != "" {
				name = usersfile.SpelledIn(o.file, name, fold)
			}
			u, err := o.user(name, password)
			if err != nil {
				return err
			}
			u.fold, u.setAddresses = fold, cmd.Flags().Changed("addresses")
			if o.sql != "" {
				statement, err := u.sql(o.sql)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), statement)
				return nil
			}
			if o.file == "" {
				line, err := u.line()
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), line)
				return nil
			}
			done, err := write(o.file, u)
			if err != nil {
				return err
			}
			if done.replaced {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has another password in %s\n", u.name, o.file)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "%s was added to %s\n", u.name, o.file)
			}
			if done.disabled {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s is still disabled: its line says nologin or fail\n", u.name)
			}
			return nil
		},
	}
	cmd.AddCommand(manageCommands()...)
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "users file to write to; made if it is missing")
	f.StringVar(&o.sql, "sql", "", "print a statement for a database: postgres, mysql or sqlite")
	f.StringSliceVar(&o.schemes, "scheme", []string{"ARGON2ID", "SCRAM-SHA-256"}, "password schemes: ARGON2ID, SCRAM-SHA-256, DIGEST-MD5, SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, PBKDF2, PLAIN")
	f.StringVar(&o.realm, "realm", "", "realm for DIGEST-MD5")
	f.StringSliceVar(&o.addresses, "addresses", nil, "addresses that the user may send as, beside a name that is one")
	f.BoolVar(&o.caseExact, "case-exact", false, "the file may have names that differ in case only, as the server's setting case exact allows")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input, one line, without asking")
	return cmd
}

// password asks twice on a terminal, else reads one line.
func (o *options) password(stdin io.Reader) (string, error) {
	if o.passwordStdin || !prompt.IsTerminal(stdin) {
		return prompt.Line(stdin)
	}
	first, err := prompt.Password(stdin, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := prompt.Password(stdin, "Again: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ; nothing was written")
	}
	return first, err
}

const digestMD5 = "DIGEST-MD5"

// check finds what can be wrong before the password is known.
func (o *options) check(name string) error {
	if _, ok := dialects[o.sql]; !ok && o.sql != "" {
		return errors.New("--sql: say postgres, mysql or sqlite")
	}
	if o.sql != "" && o.file != "" {
		return errors.New("--sql prints a statement and --file writes a line: use one of them")
	}
	if err := passwd.CheckName(name); err != nil {
		return err
	}
	if len(o.schemes) == 0 {
		return errors.New("--scheme: at least one is required")
	}
	for _, scheme := range o.schemes {
		if err := passwd.CheckScheme(scheme); err != nil {
			return fmt.Errorf("--scheme: %w", err)
		}
	}
	digest := slices.ContainsFunc(o.schemes, func(s string) bool { return strings.EqualFold(s, digestMD5) })
	switch {
	case o.realm != "" && !digest:
		return errors.New("--realm is for DIGEST-MD5, which is not among the schemes: add it to --scheme")
	case o.realm == "" && digest && !strings.Contains(name, "@"):
		return errors.New("DIGEST-MD5 needs a realm, which this name does not contain: add --realm, with the server's hostname unless it is configured otherwise")
	}
	return nil
}

// user makes the credentials.
func (o *options) user(name, password string) (user, error) {
	u := user{name: name, addresses: o.addresses}
	for _, scheme := range o.schemes {
		if strings.EqualFold(scheme, digestMD5) && o.realm != "" {
			scheme = digestMD5 + ".realm=" + o.realm
		}
		made, err := passwd.GenerateEach(scheme, name, password, passwd.Options{})
		if err != nil {
			return user{}, fmt.Errorf("scheme %s: %w", scheme, err)
		}
		u.credentials = append(u.credentials, made...)
	}
	return u, nil
}
