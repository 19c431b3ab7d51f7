package config

import (
	"strings"
	"testing"
)

func TestAdmin(t *testing.T) {
	main := writeFiles(t, map[string]string{
		"main.yaml": "admin: {address: unix:///run/usher/admin.sock, token_file: tok, allowed_hosts: [ops.test]}",
		"tok":       "0123456789abcdef\n",
	})
	cfg, err := Load(main, Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if a := cfg.Admin; a.Token != "0123456789abcdef" || a.Address != "unix:///run/usher/admin.sock" ||
		len(a.AllowedHosts) != 1 {
		t.Errorf("got %+v", a)
	}
	if cfg = mustLoad(t, "", Options{Admin: "unix:///tmp/a.sock"}); cfg.Admin.Address != "unix:///tmp/a.sock" {
		t.Errorf("by the flag: %+v", cfg.Admin)
	}
}

// An open door is told of, never more than once and never a closed one.
func TestAdminWarnings(t *testing.T) {
	for content, want := range map[string]int{
		"":                                                   0,
		`admin: {address: "localhost:9900"}`:                 0,
		`admin: {address: "[::1]:9900"}`:                     0,
		`admin: {address: "127.1.2.3:9900"}`:                 0,
		`admin: {address: "unix:///run/a"}`:                  0,
		`admin: {address: ":9900"}`:                          1,
		`admin: {address: "0.0.0.0:9900"}`:                   1,
		`admin: {address: "10.0.0.7:9900"}`:                  1,
		`admin: {address: "ops.internal:9900"}`:              1,
		`admin: {address: ":9900", token: 0123456789abcdef}`: 0,
	} {
		got := mustLoad(t, content, Options{}).Warnings()
		if len(got) != want {
			t.Errorf("%s: got %q", content, got)
		}
		if want > 0 && !strings.Contains(got[0], "no token") {
			t.Errorf("%s: got %q", content, got)
		}
	}
}
