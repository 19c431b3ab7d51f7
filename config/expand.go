package config

import (
	"fmt"
	"strings"
)

// lookup finds the value of an environment variable.
type lookup func(name string) (value string, ok bool)

// expand replaces ${NAME} and ${NAME:-default} in s. The default stands for a
// variable that is unset or empty, as in a shell. $${ is a literal ${; a $
// before anything else is left alone, so that patterns need no escapes. What a
// variable holds is not expanded again. It fails for the first variable that is
// unset without a default, and for a ${ that starts no reference.
func expand(s string, env lookup) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		value, rest, err := reference(s[i+2:], env)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		s = rest
	}
}

// reference resolves the reference whose text starts after "${".
func reference(s string, env lookup) (value, rest string, err error) {
	body, rest, closed := strings.Cut(s, "}")
	name, fallback, hasDefault := strings.Cut(body, ":-")
	if !closed || !isVariable(name) {
		return "", "", fmt.Errorf("malformed %q: write ${NAME} or ${NAME:-default}, or $${ for a literal ${",
			shorten("${"+body))
	}
	if strings.Contains(fallback, "${") {
		return "", "", fmt.Errorf("the default of ${%s} contains another ${, which is not supported", name)
	}
	value, ok := env(name)
	switch {
	case hasDefault && value == "":
		return fallback, rest, nil
	case !ok:
		return "", "", fmt.Errorf("environment variable %q is not set; ${%s:-default} gives it a default", name, name)
	}
	return value, rest, nil
}

func isVariable(s string) bool {
	for i, c := range []byte(s) {
		digit := c >= '0' && c <= '9'
		if !isLetter(c) && c != '_' && (!digit || i == 0) {
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
