// Package prompt reads passwords at a terminal or from a pipe, for the commands.
package prompt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// ErrEmpty is what an empty line makes.
var ErrEmpty = errors.New("the password is empty")

// IsTerminal tells whether there is somebody to ask.
func IsTerminal(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Password asks without echo on a terminal, else it reads a line.
func Password(stdin io.Reader, question string) (string, error) {
	if IsTerminal(stdin) {
		password, err := ask(stdin.(*os.File), question)
		return nonEmpty(password, err)
	}
	return Line(stdin)
}

// Line reads a line, whose end may be missing. A byte order mark, which PowerShell puts before what it pipes, is no part of it.
func Line(stdin io.Reader) (string, error) {
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return nonEmpty(strings.TrimPrefix(strings.TrimRight(line, "\r\n"), textfile.ByteOrderMark), err)
}

func nonEmpty(password string, err error) (string, error) {
	if err == nil && password == "" {
		err = ErrEmpty
	}
	return password, err
}

// ask reads a line without echo.
func ask(f *os.File, question string) (string, error) {
	fd := int(f.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	defer signal.Stop(interrupt)
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-interrupt:
			_ = term.Restore(fd, state) // or the shell would not echo
			fmt.Fprintln(os.Stderr)
			os.Exit(130) // as a shell says of an interrupted program
		case <-answered:
		}
	}()
	fmt.Fprint(os.Stderr, question)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return string(b), err
}
