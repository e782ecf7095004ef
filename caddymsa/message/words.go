package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// DecodeWords decodes the encoded words in s (RFC 2047, with the language of RFC 2231 section 5). It
// does so as mail readers do, and not only where the RFC allows them: within quotes and other words,
// with spaces in them, and with characters that are cut in two between words of one character set.
// A word that cannot be decoded is left as it is.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var (
		out  strings.Builder
		held encodedWord                  // whose octets may go on in the next
		last = strings.LastIndex(s, "?=") // where words end for the last time: no search is in vain twice
		done int
	)
	for {
		i := strings.Index(s[done:], "=?") + done
		if i < done || i >= last {
			break
		}
		w, ok := parseWord(s, i)
		joined := held.end > 0 && strings.Trim(s[held.end:i], " \t") == ""
		switch {
		case !ok:
			out.WriteString(held.text(s) + s[done:i+2])
			held, done = encodedWord{}, i+2
			continue
		case joined && held.charset == w.charset:
			held.octets, held.end = append(held.octets, w.octets...), w.end
		case joined:
			out.WriteString(held.text(s))
			held = w
		default:
			out.WriteString(held.text(s) + s[done:i])
			held = w
		}
		done = w.end
	}
	return out.String() + held.text(s) + s[done:]
}

// encodedWord is an encoded word, or several of one character set.
type encodedWord struct {
	charset string
	octets  []byte
	start   int // where it stands
	end     int
}

// text is what the word in s stands for.
func (w encodedWord) text(s string) string {
	text, ok := decodeText(w.charset, w.octets)
	if !ok {
		return s[w.start:w.end]
	}
	return text
}

// decodeText decodes text in a character set; what is invalid becomes U+FFFD.
func decodeText(label string, octets []byte) (string, bool) {
	if CharsetName(label) == "utf-8" {
		return strings.ToValidUTF8(string(octets), string(utf8.RuneError)), true
	}
	enc := Charset(label)
	if enc == nil {
		return "", false
	}
	text, err := enc.NewDecoder().Bytes(octets)
	return string(text), err == nil
}

// parseWord reads the encoded word that begins at a place in s.
func parseWord(s string, start int) (w encodedWord, ok bool) {
	label, rest, found := cutWithin(s[start+2:], '?', maxCharset)
	if !found || len(rest) < 2 || rest[1] != '?' || strings.IndexByte("bBqQ", rest[0]) < 0 {
		return w, false
	}
	label, _, _ = strings.Cut(label, "*")
	text, after, found := strings.Cut(rest[2:], "?=")
	if !found {
		return w, false
	}
	switch rest[0] {
	case 'b', 'B':
		w.octets = lenientBase64(text)
	default:
		w.octets = lenientQ(text)
	}
	w.charset, w.start, w.end = strings.ToLower(label), start, len(s)-len(after)
	return w, true
}

// maxCharset bounds the name of a character set and its language, in octets.
const maxCharset = 100

// cutWithin is strings.Cut that looks no farther than so many octets.
func cutWithin(s string, sep byte, most int) (before, after string, found bool) {
	i := strings.IndexByte(s[:min(len(s), most)], sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// lenientBase64 decodes what is of the alphabet.
func lenientBase64(s string) []byte {
	digits := make([]byte, 0, len(s))
	for i := range len(s) {
		if base64Value[s[i]] >= 0 {
			digits = append(digits, s[i])
		}
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(digits)))
	n, _ := base64.RawStdEncoding.Decode(out, digits)
	return out[:n]
}

// lenientQ decodes the Q encoding (RFC 2047 section 4.2).
func lenientQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '_':
			out = append(out, ' ')
		case s[i] == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return out
}
