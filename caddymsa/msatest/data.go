package msatest

import (
	"bufio"
	"bytes"
)

// ReadData reads what follows DATA up to CRLF.CRLF and takes the dots out, as a strict receiver
// does: a line ends with CRLF and with nothing else.
func ReadData(r *bufio.Reader) ([]byte, error) {
	var m []byte
	start := true
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
		if start && string(line) == ".\r\n" {
			return m, nil
		}
		if start && line[0] == '.' {
			line = line[1:]
		}
		m = append(m, line...)
		start = bytes.HasSuffix(m, []byte("\r\n"))
	}
}
