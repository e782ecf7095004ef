package journal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Forgotten stands where an address was that Forget took away.
const Forgotten = "(purged)"

// Forget takes an address, or a user's name, out of the fact, and tells whether it was there: as user, sender,
// recipient or operator, and an address in each text as well.
func (f *Fact) Forget(address string) (was bool) {
	key := Fold(address)
	if key == "" {
		return false
	}
	whole := []*string{&f.User, &f.Sender, &f.By}
	f.Recipients = append([]string(nil), f.Recipients...) // they may be somebody else's too
	for i := range f.Recipients {
		whole = append(whole, &f.Recipients[i])
	}
	for _, s := range whole {
		if Fold(*s) == key {
			*s, was = Forgotten, true
		}
	}
	texts := []*string{&f.Text, &f.Reply, &f.By}
	if f.Submission != nil {
		s := *f.Submission
		f.Submission = &s
		texts = append(texts, &s.EnvelopeID, &s.Helo)
	}
	if f.Visit != nil {
		v := *f.Visit
		f.Visit = &v
		texts = append(texts, &v.Answer, &v.HopID)
	}
	for _, s := range texts {
		without := forget(*s, strings.TrimSpace(address), key)
		was = was || without != *s
		*s = without
	}
	return was
}

// forget takes what folds to the key out of a text: words around an @, the address as it was given, and the domain and the local part
// of a path, as Maildirs have them.
func forget(text, address, key string) string {
	at := strings.LastIndexByte(key, '@')
	if at < 0 {
		return text
	}
	if strings.Contains(text, "/") && at+1 < len(key) { // postmaster alone has no domain
		text = replaceFold(text, key[at+1:]+"/"+key[:at])
	}
	if !strings.Contains(text, "@") {
		return text
	}
	text = replaceFold(text, address)
	var b strings.Builder
	for len(text) > 0 {
		n := strings.IndexFunc(text, outside)
		if n < 0 {
			n = len(text)
		}
		b.WriteString(forgetWord(text[:n], key))
		if n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			b.WriteString(text[n : n+size])
			n += size
		}
		text = text[n:]
	}
	return b.String()
}

// outside tells whether no address without quotes has r.
func outside(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`<>"(),:;[]`, r)
}

// marks mean something else in a sentence, at the ends of a word.
const marks = "'`.!?=*{}|/"

// forgetWord tries a word, and what is left of it without marks at its ends: with no more of them than the key has, which may
// begin or end in some of its own. So a text that is nothing but marks takes no time.
func forgetWord(word, key string) string {
	if !strings.Contains(word, "@") {
		return word
	}
	if Fold(word) == key {
		return Forgotten
	}
	for left := word[max(0, before(word)-before(key)):]; ; left = left[1:] {
		for right := left[:len(left)-max(0, behind(left)-behind(key))]; ; right = right[:len(right)-1] {
			if Fold(right) == key {
				return word[:len(word)-len(left)] + Forgotten + left[len(right):]
			}
			if right == "" || !strings.ContainsRune(marks, rune(right[len(right)-1])) {
				break
			}
		}
		if left == "" || !strings.ContainsRune(marks, rune(left[0])) {
			return word
		}
	}
}

// before and behind are how many marks a word begins and ends with.
func before(word string) int { return len(word) - len(strings.TrimLeft(word, marks)) }
func behind(word string) int { return len(word) - len(strings.TrimRight(word, marks)) }

// replaceFold takes away what is the address but for ASCII case, with no part of a longer one beside it.
func replaceFold(text, address string) string {
	var b strings.Builder
	for at := 0; at < len(text); {
		end := at + len(address)
		if end <= len(text) && strings.EqualFold(text[at:end], address) && bounded(text, at, end) {
			b.WriteString(Forgotten)
			at = end
			continue
		}
		b.WriteByte(text[at])
		at++
	}
	return b.String()
}

func bounded(text string, at, end int) bool {
	inside := func(c byte) bool {
		return c >= 0x80 || c == '-' || c == '_' || c == '+' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	before := at == 0 || !inside(text[at-1]) && text[at-1] != '.'
	after := end == len(text) || !inside(text[end]) && (text[end] != '.' || end+1 == len(text) || !inside(text[end+1]))
	return before && after
}
