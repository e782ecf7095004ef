// Package cmdsend is `caddy msa send`: it submits a message and prints the dialogue.
package cmdsend

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/dialogue"
	"github.com/caddy-msa/caddy-msa/caddymsa/prompt"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

func init() {
	caddymsa.RegisterCommand(func(msa *cobra.Command) { msa.AddCommand(newCommand()) })
}

// options are the command's flags.
type options struct {
	server, mode, serverName, ca, helo string
	insecure                           bool
	user, password, mechanism, realm   string
	token, cert, key                   string
	from                               string
	to                                 []string
	subject, file                      string
	timeout                            time.Duration
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "send --server <host:port> --user <name> --to <address>...",
		Short: "Submits a test message and prints the dialogue",
		Long: `Submits a message to a submission server, this one or another, and prints
what both sides say; passwords are not shown. The message is a short text, or
the file named by --file (- for standard input), sent as it is but for line ends and a byte order mark.

The password comes from --password, from the environment variable MSA_PASSWORD,
or is asked for, unless the message is piped in with --file -. A bearer token, from
--token or MSA_TOKEN, is for OAUTHBEARER and XOAUTH2; a client certificate is for
EXTERNAL.

Exit code: 0 when the server took the message, 1 when anything went wrong.`,
		Example: "  caddy msa send --server msa.example.org:587 --user alice@example.org --to bob@example.org",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			if err := o.complete(cmd.InOrStdin()); err != nil {
				return err
			}
			message, err := o.message(cmd.InOrStdin(), time.Now())
			if err != nil {
				return err
			}
			return o.send(message, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "localhost:587", "host and port; port 587 if there is none")
	f.StringVar(&o.mode, "tls", "", "starttls or implicit (default: implicit on ports 465 and 1465, else starttls)")
	f.StringVar(&o.serverName, "server-name", "", "name to expect in the certificate (default: the host)")
	f.StringVar(&o.ca, "ca", "", "file of CA certificates to trust (default: the system's)")
	f.BoolVar(&o.insecure, "insecure", false, "do not check the certificate")
	f.StringVar(&o.helo, "helo", "", "name to give in EHLO (default: this machine's)")
	f.StringVar(&o.user, "user", "", "user name")
	f.StringVar(&o.password, "password", "", "password; others on this machine can see it")
	f.StringVar(&o.token, "token", "", "bearer token; others on this machine can see it")
	f.StringVar(&o.cert, "cert", "", "file of the client certificate")
	f.StringVar(&o.key, "key", "", "file of its key")
	f.StringVar(&o.mechanism, "mechanism", "", "SASL mechanism (default: the best that both sides know)")
	f.StringVar(&o.realm, "realm", "", "realm for DIGEST-MD5 (default: the first offered)")
	f.StringVar(&o.from, "from", "", "sender (default: the user)")
	f.StringSliceVar(&o.to, "to", nil, "recipients")
	f.StringVar(&o.subject, "subject", "Test message", "subject of the short text")
	f.StringVar(&o.file, "file", "", "message to send instead of the short text")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "for each step")
	return cmd
}

// complete fills in what the flags leave open.
func (o *options) complete(stdin io.Reader) error {
	if len(o.to) == 0 || slices.Contains(o.to, "") {
		return errors.New("--to: an address is required, such as bob@example.org")
	}
	for _, to := range o.to { // what else may be wrong with it the server says
		if !strings.Contains(to, "@") && !strings.EqualFold(to, "postmaster") {
			return fmt.Errorf("--to: %q is not an address, such as bob@example.org", to)
		}
	}
	host, port, err := net.SplitHostPort(o.server)
	if err != nil {
		host, port = strings.Trim(o.server, "[]"), "587"
		o.server = net.JoinHostPort(host, port)
	}
	if o.serverName == "" {
		o.serverName = host
	}
	if o.mode == "" {
		o.mode = "starttls"
		if port == "465" || port == "1465" {
			o.mode = "implicit"
		}
	}
	if o.mode != "starttls" && o.mode != "implicit" {
		return fmt.Errorf("--tls is starttls or implicit, not %q", o.mode)
	}
	if o.from == "" {
		o.from = o.user
	}
	if o.helo == "" {
		if o.helo, err = os.Hostname(); err != nil || o.helo == "" {
			o.helo = "localhost"
		}
	}
	if o.password == "" {
		o.password = os.Getenv("MSA_PASSWORD")
	}
	if o.token == "" {
		o.token = os.Getenv("MSA_TOKEN")
	}
	switch {
	case o.user == "" || o.password != "" || o.token != "" || o.cert != "":
		return nil
	case o.file == "-" && !prompt.IsTerminal(stdin): // a line of the message would go out as the password
		return errors.New("the message comes from standard input, so that the password cannot be asked for there: set MSA_PASSWORD")
	}
	o.password, err = prompt.Password(stdin, "Password: ")
	return err
}

// message is the file's content or the short text, with CRLF line ends.
func (o *options) message(stdin io.Reader, now time.Time) ([]byte, error) {
	var text []byte
	var err error
	switch o.file {
	case "":
		text = fmt.Appendf(nil, "From: <%s>\nTo: <%s>\nSubject: %s\nDate: %s\nMessage-ID: <%d.caddy-msa-send@%s>\n\nSent by caddy msa send.\n",
			o.from, strings.Join(o.to, ">, <"), o.subject, now.Format(time.RFC1123Z), now.UnixNano(), o.helo)
	case "-":
		text, err = io.ReadAll(stdin)
	default:
		text, err = os.ReadFile(o.file)
	}
	if err != nil {
		return nil, err
	}
	if textfile.IsUTF16(text) {
		return nil, errors.New("--file: the message is UTF-16; save it as UTF-8")
	}
	text = bytes.TrimPrefix(text, []byte(textfile.ByteOrderMark)) // an editor's: it would be a part of the first field's name
	s := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n")
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return []byte(s), nil
}

// send submits the message and prints what is said.
func (o *options) send(message []byte, out io.Writer) error {
	config, err := o.tlsConfig()
	if err != nil {
		return err
	}
	nc, err := net.DialTimeout("tcp", o.server, o.timeout)
	if err != nil {
		return fmt.Errorf("cannot reach the server: %w; --server is its host and port, and \"caddy msa doctor\" looks into the one that runs here", err)
	}
	client := dialogue.Client{TLS: config, Implicit: o.mode == "implicit", Helo: o.helo, Host: o.serverName, Timeout: o.timeout, User: o.user, Password: o.password, Token: o.token,
		Certificate: o.cert != "", Mechanism: o.mechanism, Realm: o.realm, From: o.from, To: o.to}
	err = client.Send(nc, message, out)
	switch _, clear := errors.AsType[tls.RecordHeaderError](err); {
	case o.mode == "starttls" && errors.Is(err, dialogue.ErrNoGreeting):
		return fmt.Errorf("%w; where TLS begins at once, as on port 465, --tls implicit is needed", err)
	case o.mode == "implicit" && clear:
		return fmt.Errorf("%w; where TLS begins with STARTTLS, as on port 587, --tls starttls is needed", err)
	}
	return handshakeRemedy(err)
}

// handshakeRemedy adds what to do about the two handshakes that fail with every server that is set up for the first time.
func handshakeRemedy(err error) error {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	alert, _ := errors.AsType[*net.OpError](err)
	switch {
	case unknown:
		return fmt.Errorf("%w; name the CA's certificate with --ca: of tls internal it is pki/authorities/local/root.crt in Caddy's storage", err)
	case alert != nil && alert.Op == "remote error" && alert.Err.Error() == "tls: internal error":
		return fmt.Errorf("%w; the server has no certificate to show: its log says why, and so does \"caddy msa doctor\"", err)
	}
	return err
}

func (o *options) tlsConfig() (*tls.Config, error) {
	if (o.cert == "") != (o.key == "") {
		return nil, errors.New("--cert and --key go together")
	}
	client := conf.TLSClient{ServerName: o.serverName, ClientCertificate: o.cert, ClientKey: o.key}
	if o.ca != "" {
		client.CA = []string{o.ca}
	}
	config, err := client.Config()
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = o.insecure // the operator's wish
	return config, nil
}
