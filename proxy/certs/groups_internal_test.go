package certs

import (
	"slices"
	"strings"
	"testing"
)

// grouped sorts names into groups and writes each as name=certificate+key, or name! when
// it lacks one.
func grouped(bare bool, names ...string) []string {
	groups := map[string]parts{}
	for _, name := range names {
		addPart(groups, name, name, bare)
	}
	var out []string
	for name, p := range groups {
		cert, key, err := p.choose()
		if err != nil {
			out = append(out, name+"!")
			continue
		}
		out = append(out, name+"="+cert+"+"+key)
	}
	slices.Sort(out)
	return out
}

func TestGroups(t *testing.T) {
	for _, tc := range []struct {
		bare  bool
		names string
		want  string
	}{
		{false, "a.crt a.key", "a=a.crt+a.key"},
		{false, "a.pem a.key", "a=a.pem+a.key"},
		{false, "a.pem", "a=a.pem+a.pem"},
		{false, "a.crt", "a=a.crt+a.crt"},
		{false, "a.key", "a!"},
		{false, "a.crt a.pem a.key", "a=a.crt+a.key"},
		{false, "a.crt a.pem", "a=a.pem+a.pem"},
		{false, "a.test.crt a.test.key b.txt README .crt", "a.test=a.test.crt+a.test.key"},
		{true, "shop.example.com", "shop.example.com=shop.example.com+shop.example.com"},
		{true, "a a.crt a.key", "a=a.crt+a.key"},
		{true, "team/a.crt team/a.key b", "b=b+b team/a=team/a.crt+team/a.key"},
		{true, ".key", ".key=.key+.key"},
	} {
		got := strings.Join(grouped(tc.bare, strings.Fields(tc.names)...), " ")
		if got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.names, got, tc.want)
		}
	}
}

// FuzzGroups: whatever the names, each group is of names that are there, and none of them
// is in two groups.
func FuzzGroups(f *testing.F) {
	f.Add("a.crt a.key a.pem a", true)
	f.Add(".crt x.key.key é.pem", false)
	f.Fuzz(func(t *testing.T, text string, bare bool) {
		names := strings.Fields(text)
		groups := map[string]parts{}
		for _, name := range names {
			addPart(groups, name, name, bare)
		}
		seen := map[string]bool{}
		for name, p := range groups {
			for _, part := range []string{p.crt, p.pem, p.key, p.bare} {
				if part != "" && (seen[part] || !slices.Contains(names, part)) {
					t.Errorf("group %q has %q", name, part)
				}
				seen[part] = true
			}
			cert, key, err := p.choose()
			if err == nil && (!slices.Contains(names, cert) || !slices.Contains(names, key)) {
				t.Errorf("group %q chooses %q and %q", name, cert, key)
			}
		}
	})
}
