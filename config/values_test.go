package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// texts are values as key=text.
func texts(part any) (out []string) {
	for _, v := range Values(part) {
		out = append(out, v.Key+"="+v.Text)
	}
	return out
}

func TestValuesOfARoute(t *testing.T) {
	got := texts(Route{
		Name:  "r",
		Match: Match{Hosts: []string{"a", "b"}, Headers: map[string]string{"X": "1", "A": "2"}},
		Split: []Arm{{"s", 1}, {"t", 2}}, Priority: 3,
		Respond:  &Respond{Status: 200, BodyFile: Content{"p.html", "x"}},
		Override: Override{Timeout: new(2 * time.Second)},
		Pos:      Pos{File: "f", Line: 1, Column: 2},
	})
	want := []string{
		"name=r", "match.hosts=a, b", "match.headers.A=2", "match.headers.X=1",
		"split[0].service=s", "split[0].weight=1", "split[1].service=t", "split[1].weight=2",
		"respond.status=200", "respond.body_file=p.html #2d7116", "priority=3", "timeout=2s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Secrets and the contents of files can be told apart, and not read.
func TestValuesHideSecrets(t *testing.T) {
	policy := func(secret, key string) string {
		p := Policy{}
		p.Sticky.Secret = secret
		p.Upstream.TLS.PEM.Key = key
		return strings.Join(texts(p), "\n")
	}
	all := policy("open sesame", "BEGIN KEY")
	for _, secret := range []string{"open", "sesame", "BEGIN"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is shown:\n%s", secret, all)
		}
	}
	if all == policy("other", "BEGIN KEY") || all == policy("open sesame", "other") {
		t.Error("a changed secret cannot be seen")
	}
	c := Consul{Token: "hush"}
	if got := strings.Join(texts(c), "\n"); strings.Contains(got, "hush") {
		t.Errorf("the token is shown:\n%s", got)
	}
}

// Whatever is different in two configurations is different in their values.
func TestValuesTellWhatTheHashTells(t *testing.T) {
	load := func(text string) *Config {
		cfg, err := Load(writeConfig(t, text), Options{Env: func(string) (string, bool) { return "", false }})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	base := load("{}\n")
	for _, text := range []string{
		"defaults: {timeout: 7s}", "defaults: {retry: {attempts: 4}}", "services: {s: {balance: random}}",
		"listeners: [{name: web, address: ':1'}]", "log: {level: debug}", "claims: [{host: a, services: [b]}]",
		"registries: [{type: file, path: x.yaml}]", "shared_routes: false",
	} {
		other := load(text + "\n")
		if base.Hash != other.Hash && slices.Equal(texts(*base), texts(*other)) {
			t.Errorf("%s: the values are the same", text)
		}
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/usher.yaml"
	write(t, path, text)
	return path
}
