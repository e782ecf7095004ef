package passwd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Slips are lines that parse as something else than was meant: a user who cannot log in, or one
// without the limits that were written for it. Errors repeat no password.

// ours are the extra fields that have a meaning here.
var ours = []string{"addresses", "allow_nets", "nologin", "app_password", "fail"}

// checkPlaces finds extra fields that are not in the eighth field, and a password that is more than one.
func checkPlaces(fields []string) error {
	if fields[1] != strings.TrimSpace(fields[1]) {
		return errors.New("white space around the password; if it is part of a clear password, write that with {PLAIN.b64}")
	}
	if words := strings.Fields(fields[1]); len(words) > 1 {
		for _, word := range words[1:] {
			if key, ok := isOurs(word); ok && key != "fail" {
				return fmt.Errorf("%s is part of the password here; extra fields are behind the seventh colon: name:password::::::%s", key, key)
			}
		}
	}
	for i, field := range fields[2:] {
		if i == 5 { // the eighth
			if strings.HasPrefix(field, ":") {
				return errors.New("more than seven colons before the extra fields: name:password::::::addresses=a@example.org")
			}
			break
		}
		for word := range strings.FieldsSeq(field) {
			if key, ok := isOurs(word); ok && (key != "fail" || field == key) {
				return fmt.Errorf("%s is in field %d, where it means nothing; extra fields are the eighth, behind the seventh colon: name:password::::::%s", key, i+3, key)
			}
		}
	}
	return nil
}

// isOurs tells whether a word is one of our extra fields, and which.
func isOurs(word string) (key string, ok bool) {
	key, _, hasValue := strings.Cut(word, "=")
	key, _, _ = strings.Cut(key, ":")
	if strings.HasPrefix(key, attributePrefix) {
		return key, hasValue
	}
	return key, slices.Contains(ours, key) && (hasValue || key == word)
}

// checkExtra finds what cannot be meant among extra fields, most of which are others' (userdb_*).
func checkExtra(field, key string, hasValue bool) error {
	if !hasValue && strings.Contains(field, "@") {
		return fmt.Errorf("%q is not an extra field; addresses are separated by commas without spaces", field)
	}
	for _, name := range ours[:4] { // fail is near to mail
		most := 2
		if name == "nologin" {
			most = 1
		}
		if key != name && distance(strings.ToLower(key), name) <= most {
			return fmt.Errorf("unknown extra field %q; did you mean %s?", key, name)
		}
	}
	return nil
}

// unknownOption is of an application password's. What stands there may be the password itself, without its scheme: it is
// repeated only where it is near to what was meant.
func unknownOption(key string, hasValue bool) error {
	for _, name := range []string{"expires", "nets"} {
		if hasValue && distance(strings.ToLower(key), name) <= 2 {
			return fmt.Errorf("unknown option %q; did you mean %s?", key, name)
		}
	}
	return errors.New("unknown option; there are expires= and nets=, and a password begins with {SCHEME}")
}

// distance is how many characters have to be added, taken away or changed to make b of a. It
// looks no further than a few.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	before := make([]int, len(b)+1)
	for j := range before {
		before[j] = j
	}
	for i := range len(a) {
		now := []int{i + 1}
		for j := range len(b) {
			change := before[j]
			if a[i] != b[j] {
				change++
			}
			now = append(now, min(change, before[j+1]+1, now[j]+1))
		}
		before = now
	}
	return before[len(b)]
}
