package textfile

import (
	"encoding/pem"
	"strings"
	"testing"
)

// A file that was put together of several has all their blocks, whatever an editor or a copy left between them.
func TestPEM(t *testing.T) {
	block := strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("some octets")})))
	windows := strings.ReplaceAll(block, "\n", "\r\n")
	for text, blocks := range map[string]int{
		block: 1,
		"\ufeff" + windows + "\r\n\ufeff" + windows: 2,
		block + block + "\ufeff" + block:            3,
		"Certificate:\n  Data:\n" + block + "\n":    1,
		"":                                          0,
		"no PEM":                                    0,
		block + "\n" + block[:len(block)-30]:        -1,
		block[:20]:                                  -1,
		"\x30\x82\x00\x01":                          -1,
		"\xff\xfe-\x00-\x00":                        -1,
		"\xfe\xff\x00-":                             -1,
	} {
		b, err := PEM([]byte(text))
		if (err != nil) != (blocks < 0) {
			t.Errorf("%q: %v", text, err)
		}
		n := 0
		for p, rest := pem.Decode(b); p != nil && err == nil; p, rest = pem.Decode(rest) {
			n++
		}
		if err == nil && n != blocks {
			t.Errorf("%q: %d blocks", text, n)
		}
	}
}
