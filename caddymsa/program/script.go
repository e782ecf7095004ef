package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// find finds a command's file. One that the system would refuse to run is an error, since of a script it says no more than
// "no such file or directory" and "exec format error".
func find(command string) (path string, err error) {
	if path, err = exec.LookPath(command); err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		err = checkFile(path)
	}
	return path, err
}

// Check tells whether the program can still be run.
func (p *Program) Check() error {
	_, err := find(p.path)
	return err
}

// checkFile looks at how a file begins. One that can be run and not read is not looked at.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil //nolint:nilerr // it may run all the same
	}
	defer f.Close()
	begins := make([]byte, 512)
	n, err := io.ReadFull(f, begins)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil //nolint:nilerr // as above
	}
	if err := checkScript(begins[:n]); err != nil {
		return fmt.Errorf("%s cannot be run: %w", path, err)
	}
	return nil
}

func checkScript(begins []byte) error {
	script, marked := bytes.CutPrefix(begins, []byte(textfile.ByteOrderMark))
	line, _, ended := bytes.Cut(script, []byte("\n"))
	interpreter, isScript := bytes.CutPrefix(line, []byte("#!"))
	switch {
	case len(begins) == 0:
		return errors.New("it is empty")
	case !isScript && isText(script):
		return errors.New("it is a text that does not begin with the line of a script, such as #!/bin/sh")
	case !isScript:
		return nil
	case marked:
		return errors.New("it begins with a byte order mark, and not with #!; save it without one")
	case ended && bytes.HasSuffix(line, []byte("\r")):
		return errors.New("its lines end in CR LF, and a carriage return would be a part of its interpreter's name; save it with line ends LF")
	}
	words := bytes.Fields(interpreter)
	if len(words) == 0 {
		return errors.New("its first line, #!, names no interpreter")
	}
	if name := string(words[0]); filepath.IsAbs(name) {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("its interpreter: %w", err)
		}
	}
	return nil
}

// isText tells whether there are only characters of a text, the last of which may be cut off.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 && utf8.FullRune(b) || r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != '\v' || r == '\x7f' {
			return false
		}
		b = b[size:]
	}
	return true
}
