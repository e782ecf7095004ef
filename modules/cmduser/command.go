// Package cmduser is `caddy msa user`: it makes lines of a users file.
package cmduser

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

// options are the command's flags.
type options struct {
	file          string
	schemes       []string
	realm         string
	addresses     []string
	passwordStdin bool
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "user <name>",
		Short: "Adds a user to a users file, or gives one another password",
		Long: `Asks for a password and writes the user's line into a users file; without
--file it prints the line. A line that the user has already is replaced, all others
stay as they are. The server reads the file again by itself.

The schemes say which mechanisms the user can log in with: any serves PLAIN and
LOGIN, SCRAM-SHA-256 serves SCRAM, DIGEST-MD5 serves DIGEST-MD5, PLAIN serves all.
DIGEST-MD5 is Dovecot's for a name user@realm; with --realm, it is for the whole
name in that realm, which for this server is its hostname unless configured.`,
		Example: "  caddy msa user alice@example.org --file users.passwd\n" +
			"  caddy msa user scanner --file users.passwd --scheme ARGON2ID,DIGEST-MD5 --realm msa.example.org --addresses @example.org",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			password, err := o.password(cmd.InOrStdin())
			if err != nil {
				return err
			}
			line, err := o.line(args[0], password)
			if err != nil {
				return err
			}
			if o.file == "" {
				fmt.Fprintln(cmd.OutOrStdout(), line)
				return nil
			}
			replaced, err := writeLine(o.file, args[0], line)
			if err != nil {
				return err
			}
			word := "added to"
			if replaced {
				word = "replaced in"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", args[0], word, o.file)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "users file to write to; made if it is missing")
	f.StringSliceVar(&o.schemes, "scheme", []string{"ARGON2ID", "SCRAM-SHA-256"}, "password schemes: ARGON2ID, SCRAM-SHA-256, DIGEST-MD5, SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, PBKDF2, PLAIN")
	f.StringVar(&o.realm, "realm", "", "realm for DIGEST-MD5")
	f.StringSliceVar(&o.addresses, "addresses", nil, "addresses that the user may send as, beside a name that is one")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input, one line, without asking")
	return cmd
}

// password asks twice on a terminal, else reads one line.
func (o *options) password(stdin io.Reader) (string, error) {
	if f, ok := stdin.(*os.File); ok && !o.passwordStdin && term.IsTerminal(int(f.Fd())) {
		first, err := ask(f, "Password: ")
		if err != nil {
			return "", err
		}
		second, err := ask(f, "Again: ")
		if err != nil {
			return "", err
		}
		if first != second {
			return "", errors.New("the two passwords differ; nothing was written")
		}
		return first, nonEmpty(first)
	}
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	return line, nonEmpty(line)
}

func ask(f *os.File, prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(os.Stderr)
	return string(b), err
}

func nonEmpty(password string) error {
	if password == "" {
		return errors.New("the password is empty")
	}
	return nil
}

// line makes the user's line of a users file.
func (o *options) line(name, password string) (string, error) {
	var credentials []string
	for _, scheme := range o.schemes {
		scheme = strings.ToUpper(scheme)
		if scheme == "DIGEST-MD5" && o.realm != "" {
			scheme += ".realm=" + o.realm
		}
		c, err := passwd.Generate(scheme, name, password, passwd.Options{})
		if err != nil {
			return "", fmt.Errorf("scheme %s: %w", scheme, err)
		}
		credentials = append(credentials, c)
	}
	return passwd.FormatLine(name, credentials, o.addresses)
}
