package mapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// table is what a file says, in a form that a million lines fit into: what was written stands in one piece of memory,
// and two hash tables have the places of the pairs in it. Keys are mailaddr's, or "@" and a domain.
type table struct {
	// text has the pairs, each four texts behind their lengths (logical key, logical, actual key, actual; a text that is its key is empty), and
	// the line.
	text            []byte
	fold            names.Case // of local parts in keys
	actual, logical index      // by logical key; by actual key
	pairs           int
	again           []string // outputs that are keys again, the first of them
	moreAgain       int      // how many there are beside those
}

// maxAgain is how many outputs that are keys again are named.
const maxAgain = 10

// pair is one line.
type pair struct {
	logicalKey, logical, actualKey, actual []byte
	line                                   int
}

var seed = maphash.MakeSeed()

// index finds pairs by a key. A slot is half of the key's hash and a pair's place in the text, behind 1; 0 is free.
type index []uint64

func newIndex(pairs int) index {
	n := 8
	for n < pairs+pairs/2 {
		n *= 2
	}
	return make(index, n)
}

// slot returns where a key is, or would be, and what to write there beside a place.
func (x index) slot(t *table, key []byte, of func(*pair) []byte) (slot *uint64, half uint64) {
	hash := maphash.Bytes(seed, key)
	half = hash >> 32 << 32
	mask := uint64(len(x) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if x[i] == 0 {
			return &x[i], half
		}
		if x[i]>>32<<32 != half {
			continue
		}
		p, _ := t.at(place(x[i]))
		if string(of(&p)) == string(key) {
			return &x[i], half
		}
	}
}

func place(slot uint64) int { return int(uint32(slot)) - 1 }

func logicalKey(p *pair) []byte { return p.logicalKey }
func actualKey(p *pair) []byte  { return p.actualKey }

// at reads the pair at a place, and returns where the next one is.
func (t *table) at(i int) (pair, int) {
	var p pair
	for _, text := range []*[]byte{&p.logicalKey, &p.logical, &p.actualKey, &p.actual} {
		n, size := binary.Uvarint(t.text[i:])
		i += size
		*text = t.text[i : i+int(n) : i+int(n)]
		i += int(n)
	}
	line, size := binary.Uvarint(t.text[i:])
	p.line = int(line)
	if len(p.logical) == 0 {
		p.logical = p.logicalKey
	}
	if len(p.actual) == 0 {
		p.actual = p.actualKey
	}
	return p, i + size
}

func (t *table) add(logicalKey, logical, actualKey, actual []byte, line int) {
	t.put(logicalKey, logical)
	t.put(actualKey, actual)
	t.text = binary.AppendUvarint(t.text, uint64(line))
	t.pairs++
}

func (t *table) put(key, text []byte) {
	t.text = append(binary.AppendUvarint(t.text, uint64(len(key))), key...)
	if string(text) == string(key) {
		text = nil
	}
	t.text = append(binary.AppendUvarint(t.text, uint64(len(text))), text...)
}

// read parses a file of so many octets, as far as is known. Its name is for errors.
func read(in io.Reader, name string, size int64, c names.Case) (*table, error) {
	t := &table{fold: c, text: make([]byte, 0, max(0, min(size+size/8, math.MaxUint32)))}
	r := textfile.NewReader(in, name)
	var words [][]byte
	for r.Next() {
		words = textfile.Words(words[:0], r.Line())
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return nil, r.Errorf("expected a logical and an actual address, as in: xyz@otpnet.nl abc@xyz.nl")
		}
		key, err := keyOf(words[0], c)
		if err != nil {
			return nil, r.Errorf("%w", err)
		}
		actualKey, err := keyOf(words[1], c)
		if err != nil {
			return nil, r.Errorf("%w", err)
		}
		if (key[0] == '@') != (actualKey[0] == '@') {
			return nil, r.Errorf("a domain stands for a domain, and an address for an address")
		}
		t.add(key, words[0], actualKey, words[1], r.Number())
		if len(t.text) >= math.MaxUint32 {
			return nil, r.Errorf("the file is larger than 4 GiB; use a database")
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return t, t.build(name)
}

// build makes the hash tables, which takes most of the time of a large file: both at once.
func (t *table) build(name string) (err error) {
	var both sync.WaitGroup
	both.Go(t.buildLogical)
	if err = t.buildActual(name); err == nil {
		t.findAgain()
	}
	both.Wait()
	return err
}

func (t *table) buildActual(name string) error {
	t.actual = newIndex(t.pairs)
	for i := 0; i < len(t.text); {
		p, next := t.at(i)
		slot, half := t.actual.slot(t, p.logicalKey, logicalKey)
		if *slot != 0 {
			first, _ := t.at(place(*slot))
			return fmt.Errorf("%s:%d: %s is specified twice, first in line %d", name, p.line, p.logical, first.line)
		}
		*slot = half | uint64(i+1)
		i = next
	}
	return nil
}

func (t *table) buildLogical() {
	t.logical = newIndex(t.pairs)
	for i := 0; i < len(t.text); {
		p, next := t.at(i)
		if slot, half := t.logical.slot(t, p.actualKey, actualKey); *slot == 0 {
			*slot = half | uint64(i+1)
		}
		i = next
	}
}

// findAgain finds outputs that are keys again.
func (t *table) findAgain() {
	for i := 0; i < len(t.text); {
		p, next := t.at(i)
		if slot, _ := t.actual.slot(t, p.actualKey, logicalKey); *slot != 0 && string(p.actual) != t.actualAt(*slot) {
			if len(t.again) == maxAgain {
				t.moreAgain++
			} else {
				t.again = append(t.again, string(p.actual))
			}
		}
		i = next
	}
}

// find looks a key up: what is actual for a logical one, or the other way round.
func (t *table) find(logical bool, key string) (string, bool) {
	if logical {
		slot, _ := t.logical.slot(t, []byte(key), actualKey)
		if *slot == 0 {
			return "", false
		}
		p, _ := t.at(place(*slot))
		return string(p.logical), true
	}
	slot, _ := t.actual.slot(t, []byte(key), logicalKey)
	if *slot == 0 {
		return "", false
	}
	return t.actualAt(*slot), true
}

func (t *table) actualAt(slot uint64) string {
	p, _ := t.at(place(slot))
	return string(p.actual)
}

// translate looks an address up, then the one of which it is a plus-address, which keeps its tag, and then
// its domain, whose local parts stay as they are.
func (t *table) translate(logical bool, a mailaddr.Address) (string, bool) {
	if to, ok := t.find(logical, a.KeyCase(t.fold)); ok {
		return to, true
	}
	if base, tag, ok := a.CutTag(); ok {
		if to, ok := t.find(logical, base.KeyCase(t.fold)); ok {
			if to, err := mailaddr.Parse(to, true); err == nil {
				to = to.WithTag(tag)
				_, err = mailaddr.Parse(to.Exact, true) // too long: who asks, asks for the address alone then, and says so
				return to.Exact, err == nil
			}
		}
	}
	to, ok := t.find(logical, "@"+a.ASCIIDomain())
	if !ok {
		return "", false
	}
	at := strings.LastIndexByte(a.Exact, '@')
	return a.Exact[:at] + to, true
}

// keyOf is the key of an address, or of a domain behind "@".
func keyOf(word []byte, c names.Case) ([]byte, error) {
	if isKey(word) {
		return word, nil
	}
	text := string(word)
	if domain, ok := strings.CutPrefix(text, "@"); ok {
		if err := mailaddr.ValidDomain(domain, true); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		ascii, err := mailaddr.ASCIIDomain(domain)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		return []byte("@" + ascii), nil
	}
	a, err := mailaddr.Parse(text, true)
	if err == nil && a.Domain == "" {
		err = errors.New("a domain is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not an address: %w", text, err)
	}
	return []byte(a.KeyCase(c)), nil
}

// isKey tells quickly of most addresses that are written as a key is: letters in lower case, digits, hyphens and dots. Of others
// it says nothing.
func isKey(word []byte) bool {
	at := bytes.IndexByte(word, '@')
	if at < 1 || at > 64 || len(word) > 200 {
		return false
	}
	dots, run := 0, 0 // of the part; letters and digits since the last dot or hyphen
	label := 0        // where it begins
	for i, c := range word {
		switch {
		case i-label > 62: // hyphens and all
			return false
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' && (i < at || dots == 0):
			run++
			continue
		case run == 0:
			return false
		case c == '.':
			dots, label = dots+1, i+1
		case c == '@' && i == at:
			dots, label = 0, i+1
		case c != '-':
			return false
		}
		run = 0
	}
	return run > 0 && dots > 0
}
