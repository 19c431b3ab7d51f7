package routetable

import (
	"slices"
	"testing"

	"usher/config"
)

// A route is found again by what a conflict says of its winner.
func TestMatches(t *testing.T) {
	r := config.Route{Name: "r", Service: "s", Match: config.Match{Hosts: []string{"a.com", "b.com"}, Path: "/x"}}
	table := Build(announce("b.com/x", "b.com/y*z matcher=glob"), rulesOf(r), Empty())
	conflicts := table.Conflicts()
	if len(conflicts) != 1 {
		t.Fatalf("conflicts: %v", conflicts)
	}
	for _, r := range table.Routes() {
		if r.ID == "r" && (r.Owner != conflicts[0].Winner || !slices.Contains(r.Matches(), conflicts[0].Match)) {
			t.Errorf("%v is not the winner of %v", r.Matches(), conflicts[0])
		}
	}
}

func TestRedirectTo(t *testing.T) {
	for text, want := range map[string]string{
		"https://x.com$path": "https://x.com$path", "https://$host/a$path": "https://$host/a$path",
		"https://x.com/$5": "https://x.com/$5",
	} {
		if got := announcedRedirect(301, text, nil).To(); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
}
