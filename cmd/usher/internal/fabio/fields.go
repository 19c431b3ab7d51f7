package fabio

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// field is a key and its value.
type field struct{ key, value string }

// fields are in their order, each key once.
type fields []field

// get returns the value of a key, empty when it is not there.
func (f fields) get(key string) string {
	i := slices.IndexFunc(f, func(x field) bool { return x.key == key })
	if i < 0 {
		return ""
	}
	return f[i].value
}

// set replaces the value of a key or appends it.
func (f fields) set(key, value string) fields {
	if i := slices.IndexFunc(f, func(x field) bool { return x.key == key }); i >= 0 {
		f[i].value = value
		return f
	}
	return append(f, field{key, value})
}

// parseGroups parses what proxy.addr and the like hold: groups separated by commas,
// each a list of key=value separated by semicolons. The first value of a group may
// stand without a key, which is empty then. Keys and values may be quoted as in Go.
func parseGroups(text string) ([]fields, error) {
	var groups []fields
	for _, part := range splitOutside(text, ',') {
		var group fields
		for i, item := range splitOutside(part, ';') {
			pair := splitOutside(item, '=')
			key, value := strings.TrimSpace(pair[0]), strings.Join(pair[1:], "=")
			if len(pair) == 1 && i == 0 {
				key, value = "", key
			}
			value, err := unquote(strings.TrimSpace(value))
			if err != nil {
				return nil, err
			}
			if key == "" && value == "" {
				continue
			}
			if len(pair) == 1 && i > 0 {
				return nil, errors.New("the option " + strconv.Quote(key) + " has no value")
			}
			group = group.set(key, value)
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// splitOutside splits at a separator that does not stand in quotes.
func splitOutside(s string, sep byte) (parts []string) {
	var quote byte
	start := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == sep:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// unquote takes the quotes off a quoted value.
func unquote(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	if len(s) < 2 || s[len(s)-1] != s[0] {
		return "", errors.New("the quotes are not closed")
	}
	if s[0] == '\'' {
		return s[1 : len(s)-1], nil
	}
	plain, err := strconv.Unquote(s)
	if err != nil {
		return "", errors.New("the text in quotes has an invalid escape")
	}
	return valid(plain), nil
}
