package config

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	env := envOf(map[string]string{"A": "1", "B_2": "two", "EMPTY": "", "NESTED": "${A}"})
	for text, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		"${A}":                 "1",
		"x${A}y${B_2}z":        "x1ytwoz",
		"${EMPTY}":             "",
		"${EMPTY:-d}":          "d",
		"${NO:-d}":             "d",
		"${NO:-}":              "",
		"${NO:-a:-b}":          "a:-b",
		"${NO:-http://x:80/$}": "http://x:80/$",
		"$${A}":                "${A}",
		"$$${A}":               "$${A}",
		"a$${${A}":             "a${1",
		"$A $ $$ {A}":          "$A $ $$ {A}",
		"^/(a|b)$":             "^/(a|b)$",
		"${NESTED}":            "${A}",
	} {
		if got, err := expand(text, env); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"${NO}": `variable "NO" is not set`,
		"${":    "malformed", "${}": "malformed", "${1A}": "malformed", "${A": "malformed",
		"${A:d}": "malformed", "${A-d}": "malformed", "${NO:-${A}}": "not supported",
	} {
		if got, err := expand(text, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "${A}", "$${A}", "${A:-b}", "${", "a${B:-${A}}", "$$$${{}}"} {
		f.Add(s)
	}
	env := envOf(map[string]string{"A": "${A}", "B": ""})
	f.Fuzz(func(t *testing.T, s string) {
		got, err := expand(s, env)
		if err == nil && !strings.Contains(s, "${") && got != s {
			t.Errorf("%q: changed into %q", s, got)
		}
		escaped := strings.ReplaceAll(s, "${", "$${")
		if got, err := expand(escaped, env); err != nil || got != s {
			t.Errorf("%q escaped: got %q, %v", s, got, err)
		}
	})
}
