package main

import (
	"regexp"
	"slices"
	"testing"

	"usher/routetable"
)

// What a route compares a request with may be a secret: it is told to nobody.
func TestConditionsKeepSecrets(t *testing.T) {
	t.Parallel()
	got := conditionsOf(&routetable.Route{
		Headers:  []routetable.Header{{Name: "Authorization", Value: "Bearer x"}, {Name: "X-Beta", Value: "1"}},
		Patterns: []routetable.Pattern{{Name: "Cookie", Expr: regexp.MustCompile("sid=x")}},
		Query: []routetable.Param{
			{Name: "access_token", Value: "x"}, {Name: "sig", Value: "x"}, {Name: "beta", Value: "1"},
		},
	})
	want := []string{
		"header Authorization: redacted", "header X-Beta: 1", "header Cookie ~ redacted",
		"query access_token=redacted", "query sig=redacted", "query beta=1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
