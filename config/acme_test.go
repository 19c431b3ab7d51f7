package config

import (
	"os"
	"path/filepath"
	"testing"

	"usher/proxy/upstream/upstreamtest"
)

func TestACME(t *testing.T) {
	got := mustLoad(t, `
state_dir: /var/lib/usher
acme: {domains: [Shop.example.com, example.com]}`, Options{}).ACME
	if got.Domains[0] != "shop.example.com" || !got.Enabled() {
		t.Errorf("domains: %q", got.Domains)
	}
	if got.Storage.Path != "/var/lib/usher/acme" {
		t.Errorf("path: %q", got.Storage.Path)
	}
	got = mustLoad(t, `
registries: [{type: file, path: a.yaml}, {type: consul, name: main}]
acme: {domains: [a.example.com], storage: {type: consul}}`, Options{}).ACME
	if got.Storage.Registry != "main" || got.Storage.Prefix != "usher-acme/" {
		t.Errorf("storage: %+v", got.Storage)
	}
}

// TestACMERootsAreRead: another content is another configuration.
func TestACMERootsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	load := func() *Config {
		t.Helper()
		if err := os.WriteFile(file, []byte(upstreamtest.NewAuthority(t).PEM), 0o600); err != nil {
			t.Fatal(err)
		}
		return mustLoad(t, "state_dir: /a\nacme: {domains: [a.example.com], ca_root_file: "+file+"}", Options{})
	}
	first, second := load(), load()
	if first.ACME.CARoots == "" || first.Hash == second.Hash {
		t.Errorf("roots of %d bytes, hashes %s, %s", len(first.ACME.CARoots), first.Hash, second.Hash)
	}
	if len(first.Files) != 2 {
		t.Errorf("files watched: %q", first.Files)
	}
}
