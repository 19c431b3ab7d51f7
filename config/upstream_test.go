package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
)

// upstreamFiles makes a folder with a configuration and the files it names.
func upstreamFiles(t *testing.T, content string) (dir string) {
	t.Helper()
	a := upstreamtest.NewAuthority(t)
	_, cert, key := a.Issue("usher.test")
	path := writeFiles(t, map[string]string{"main.yaml": content, "ca.pem": a.PEM, "c.pem": cert, "k.pem": key})
	return filepath.Dir(path)
}

const upstreamExample = `
defaults:
  upstream: {protocol: https, tls: {ca_file: ca.pem}}
  max_connections: 100
services:
  plain: {upstream: {protocol: http}}
  shown:
    upstream: {tls: {server_name: orders.internal, cert_file: c.pem, key_file: k.pem}}
    max_pending: 10
    pending_timeout: 2s
  open: {upstream: {tls: {ca_file: "", insecure_skip_verify: true}}, max_connections: 0}
`

// Services begin from the defaults, files included, and what the files hold is part of
// the configuration.
func TestUpstream(t *testing.T) {
	dir := upstreamFiles(t, upstreamExample)
	path := filepath.Join(dir, "main.yaml")
	cfg, err := Load(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ca, pem := filepath.Join(dir, "ca.pem"), PEM{CA: read("ca.pem")}
	base := Policy{Upstream: Upstream{Protocol: "https", TLS: UpstreamTLS{CAFile: ca, PEM: pem}}, MaxConnections: 100}
	plain, shown, open := base, base, base
	plain.Upstream.Protocol = "http"
	shown.MaxPending, shown.PendingTimeout = 10, 2*time.Second
	shown.Upstream.TLS = UpstreamTLS{
		ServerName: "orders.internal", CAFile: ca,
		CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem"),
		PEM: PEM{CA: pem.CA, Cert: read("c.pem"), Key: read("k.pem")},
	}
	open.Upstream.TLS, open.MaxConnections = UpstreamTLS{InsecureSkipVerify: true}, 0
	for name, want := range map[string]Policy{"plain": plain, "shown": shown, "open": open} {
		got := cfg.Services[name].Policy
		if got.Upstream != want.Upstream || got.MaxConnections != want.MaxConnections ||
			got.MaxPending != want.MaxPending || got.PendingTimeout != want.PendingTimeout {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if cfg.Defaults.Upstream != base.Upstream {
		t.Errorf("defaults: got %+v", cfg.Defaults.Upstream)
	}
	for _, name := range []string{"ca.pem", "c.pem", "k.pem"} {
		if n := count(cfg.Files, filepath.Join(dir, name)); n != 1 {
			t.Errorf("%s is listed %d times among the files to watch", name, n)
		}
	}
}

func count(list []string, s string) int {
	return len(slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x != s }))
}

// A file that changes makes another configuration of it.
func TestUpstreamFilesHash(t *testing.T) {
	dir := upstreamFiles(t, upstreamExample)
	path := filepath.Join(dir, "main.yaml")
	load := func() *Config {
		cfg, err := Load(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	before := load()
	if load().Hash != before.Hash {
		t.Error("the same files have two hashes")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(upstreamtest.NewAuthority(t).PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	after := load()
	if after.Hash == before.Hash || after.Defaults.Upstream.TLS.PEM == before.Defaults.Upstream.TLS.PEM {
		t.Error("a new certificate goes unnoticed")
	}
}

// A key that does not belong to the certificate is found when it is read.
func TestUpstreamKeyOfAnother(t *testing.T) {
	dir := upstreamFiles(t, upstreamExample)
	_, _, key := upstreamtest.NewAuthority(t).Issue("usher.test")
	if err := os.WriteFile(filepath.Join(dir, "k.pem"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(filepath.Join(dir, "main.yaml"), Options{})
	if err == nil || !strings.Contains(err.Error(), "cert_file and key_file: ") || strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

// Whoever writes to a key-value store cannot make usher read the files of its machine;
// what the defaults name stays in force.
func TestUpstreamEntry(t *testing.T) {
	defaults := Policy{Upstream: Upstream{TLS: UpstreamTLS{CAFile: "ca.pem", PEM: PEM{CA: "x"}}}}
	const entry = "upstream: {protocol: https, tls: {server_name: a.com}}\nmax_connections: 3"
	s, err := DecodeService("kv", []byte(entry), defaults)
	want := defaults.Upstream
	want.Protocol, want.TLS.ServerName = "https", "a.com"
	if err != nil || s.Upstream != want || s.MaxConnections != 3 {
		t.Errorf("got %+v, %v", s.Policy, err)
	}
	for _, key := range []string{"ca_file", "cert_file", "key_file"} {
		_, err := DecodeService("kv", []byte("upstream: {tls: {"+key+": /etc/passwd}}"), defaults)
		if err == nil || !strings.Contains(err.Error(), "cannot name a file") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}
