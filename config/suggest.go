package config

import (
	"fmt"
	"slices"
	"strings"
)

// fewWords is how many allowed words a message lists; more would drown it.
const fewWords = 16

// suggest returns the end of a message about an unknown word: the known word it
// resembles, else all of them when they are few, else nothing.
func suggest(word string, known []string) string {
	if best := closest(word, known); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	if len(known) == 0 || len(known) > fewWords {
		return ""
	}
	return ", expected " + oneOf(known)
}

// Suggest is the end of a message about an unknown word: the known word that was probably
// meant, all of them where they are few, else nothing.
func Suggest(word string, known []string) string { return suggest(word, known) }

func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return "one of " + strings.Join(words, ", ")
}

// closest returns the known word with the fewest edits to word, or "" when none
// is near enough to be what the author meant: a third of the letters may differ.
func closest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if n := edits(strings.ToLower(word), strings.ToLower(k)); n < least && n < len(k) {
			best, least = k, n
		}
	}
	return best
}

// edits is the number of insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
