package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"usher/config"
)

// The documentation, as far as a machine can tell whether it is right.

// root is the project's folder, as the tests see it.
const root = "../.."

// pages returns the Markdown files of the project by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "node_modules" || name == "testdata" || name != ".." && strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every link within the project leads to a file that is there, and to a heading of it.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := pages(t)
	if len(all) < 10 {
		t.Fatalf("only %d pages were found", len(all))
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", path, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(all[to]), anchor) {
				t.Errorf("%s: %s has no heading #%s", path, to, anchor)
			}
		}
	}
}

// withoutCode takes the fenced blocks out of a page, and what stands in backticks.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}

// anchors are what the headings of a page can be linked by.
func anchors(page string) (out []string) {
	fence := regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	for line := range strings.Lines(fence.ReplaceAllString(page, "")) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(heading))
		out = append(out, slug)
	}
	return out
}

// The configuration on the pages that show how something is done is one that usher takes.
func TestConfigurationOnPages(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")
	checked := 0
	for path, text := range pages(t) {
		if !slices.Contains(howTos, filepath.Base(path)) {
			continue
		}
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			file := filepath.Join(t.TempDir(), "usher.yaml")
			content := regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], "")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(file, config.Options{}); err != nil {
				t.Errorf("%s: %v\n%s", path, err, content)
			}
			checked++
		}
	}
	if checked < 7 {
		t.Errorf("only %d examples were found", checked)
	}
}

// howTos are the pages with whole configurations.
var howTos = []string{
	"canary.md", "blue-green.md", "maintenance.md", "migrating-from-nginx.md", "migrating-from-traefik.md",
	"tutorial.md",
}
