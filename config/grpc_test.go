package config

import (
	"slices"
	"testing"
)

// A condition on gRPC is one on the path, too.
func TestGRPCMatch(t *testing.T) {
	for text, want := range map[string]Match{
		"{service: s, match: {grpc: {}}}":                      {Path: "/", PathType: "prefix"},
		"{service: s, match: {grpc: {service: a.b_c.D1}}}":     {Path: "/a.b_c.D1/", PathType: "prefix"},
		"{service: s, match: {grpc: {service: D, method: M}}}": {Path: "/D/M", PathType: "exact"},
	} {
		r, err := DecodeRoute("kv", "r", []byte(text))
		if err != nil || r.Match.Path != want.Path || r.Match.PathType != want.PathType || r.Match.GRPC == nil {
			t.Errorf("%s: got %+v (%v)", text, r.Match, err)
		}
	}
	if _, err := DecodeRoute("kv", "r", []byte("{service: s, match: {grpc: {}, path: /}}")); err == nil {
		t.Error("both are taken")
	}
}

// The words are gRPC's, and a Retry goes by them.
func TestGRPCStatuses(t *testing.T) {
	words := GRPCStatuses()
	if len(words) != int(grpcStatuses) || !slices.Equal(words, slices.Compact(slices.Clone(words))) {
		t.Errorf("got %q", words)
	}
	r := Retry{GRPCStatus: []string{"unavailable", "aborted"}}
	for s := range grpcStatuses + 2 {
		want := s == GRPCUnavailable || s == GRPCAborted
		if r.CausesGRPC(s) != want || (&Retry{}).CausesGRPC(s) {
			t.Errorf("%s: got %t", s, !want)
		}
	}
}
