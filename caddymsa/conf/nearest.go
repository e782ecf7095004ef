package conf

import "strings"

// DidYouMean is " (did you mean ...?)" with the word that a mistyped name is nearest to, or nothing.
func DidYouMean(name string, words []string) string {
	best, least := "", len(name)/3+1 // this many slips make it another word
	lower := strings.ToLower(name)
	for _, w := range words {
		word := strings.ToLower(w)
		n := distance(lower, word)
		if len(name) > 2 && strings.HasPrefix(word, lower) || strings.HasPrefix(lower, word) {
			n = 1 // a beginning of it, or with something behind
		}
		if n < least {
			best, least = w, n
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance counts the letters to put in, leave out, replace, or swap with the next.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
