package config

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// syntaxProblem makes a problem of the YAML library's error: its position, and a
// format with one argument. The library says the line in the text alone.
func syntaxProblem(file string, data []byte, err error) (pos Pos, format string, msg any) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := regexp.MustCompile(`^line (\d+): (?s)(.*)$`).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	return Pos{File: file, Line: trueLine(line, text, data)}, "not valid YAML: %s", text + syntaxHint(text, data)
}

// trueLine corrects the line. The library counts the lines of its grammar's
// errors from 0, says none for the first, and none at all for an unknown anchor.
func trueLine(line int, text string, data []byte) int {
	grammar := regexp.MustCompile(`^did not find expected (',' or|node content|key|'-' indicator|<)`)
	anchor := regexp.MustCompile(`^unknown anchor '(.+)' referenced`).FindStringSubmatch(text)
	switch {
	case grammar.MatchString(text):
		return line + 1
	case anchor != nil:
		before, _, _ := bytes.Cut(data, []byte("*"+anchor[1]))
		return bytes.Count(before, []byte("\n")) + 1
	}
	return line
}

// syntaxHint explains the two errors that everybody meets.
func syntaxHint(text string, data []byte) string {
	switch {
	case strings.Contains(text, "cannot start any token") && bytes.Contains(data, []byte("\t")):
		return " (YAML does not allow tabs in indentation)"
	case strings.Contains(text, "expected ',' or") && bytes.Contains(data, []byte("${")):
		return " (inside [] and {}, ${VAR} needs quotes)"
	}
	return ""
}
