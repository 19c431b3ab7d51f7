package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestConsulEnv(t *testing.T) {
	token := writeFiles(t, map[string]string{"main.yaml": "from-file\n"})
	for name, tt := range map[string]struct {
		env  map[string]string
		file string
		want Consul
	}{
		"nothing": {nil, "{type: consul}", Consul{Address: "127.0.0.1:8500"}},
		"everything": {
			map[string]string{
				"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_TOKEN": "tok",
				"CONSUL_NAMESPACE": "ns", "CONSUL_PARTITION": "p",
				"CONSUL_CACERT": "ca", "CONSUL_CLIENT_CERT": "cert", "CONSUL_CLIENT_KEY": "key",
				"CONSUL_TLS_SERVER_NAME": "sn", "CONSUL_HTTP_SSL_VERIFY": "false", "CONSUL_HTTP_SSL": "true",
			},
			"{type: consul}",
			Consul{
				Address: "https://c:1", Token: "tok", Namespace: "ns", Partition: "p",
				TLS: ConsulTLS{"ca", "cert", "key", "sn", true},
			},
		},
		"the file wins": {
			map[string]string{
				"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_TOKEN": "tok",
				"CONSUL_NAMESPACE": "ns", "CONSUL_HTTP_SSL_VERIFY": "false",
			},
			`{type: consul, address: "d:2", token: mine, namespace: "", tls: {insecure_skip_verify: false}}`,
			Consul{Address: "d:2", Token: "mine"},
		},
		"ssl applies to an address of the file": {
			map[string]string{"CONSUL_HTTP_SSL": "1"},
			`{type: consul, address: "d:2"}`,
			Consul{Address: "https://d:2"},
		},
		"ssl leaves a scheme": {
			map[string]string{"CONSUL_HTTP_SSL": "1"},
			`{type: consul, address: "http://d:2"}`,
			Consul{Address: "http://d:2"},
		},
		"the token's file wins over the token": {
			map[string]string{"CONSUL_HTTP_TOKEN": "tok", "CONSUL_HTTP_TOKEN_FILE": token},
			"{type: consul}",
			Consul{Address: "127.0.0.1:8500", Token: "from-file", TokenFile: token},
		},
		"several addresses leave no room for the variable": {
			map[string]string{"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_TOKEN": "tok"},
			`{type: consul, addresses: ["d:2", "e:3"]}`,
			Consul{Addresses: []string{"d:2", "e:3"}, Token: "tok"},
		},
		"ssl applies to each of several addresses": {
			map[string]string{"CONSUL_HTTP_SSL": "true"},
			`{type: consul, addresses: ["d:2", "https://e:3"]}`,
			Consul{Addresses: []string{"https://d:2", "https://e:3"}},
		},
		"no addresses are none": {
			map[string]string{"CONSUL_HTTP_ADDR": "c:1"},
			`{type: consul, addresses: []}`,
			Consul{Address: "c:1", Addresses: []string{}},
		},
		"empty variables are unset": {
			map[string]string{"CONSUL_HTTP_ADDR": "", "CONSUL_HTTP_SSL": ""},
			"{type: consul}",
			Consul{Address: "127.0.0.1:8500"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := consulOf(tt.want)
			cfg := mustLoad(t, "registries: ["+tt.file+"]", Options{Env: envOf(tt.env)})
			if got := cfg.Registries[0].Consul; !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// consulOf gives c the defaults of what the tests here do not set.
func consulOf(c Consul) *Consul {
	c.TagPrefix, c.MaxWatches, c.MaxStale = "urlprefix-", 64, 30*time.Second
	c.Expose, c.ChecksRequired, c.KVPrefix = "announced", "all", "usher/"
	c.Guard = Guard{
		Enabled: true, ServiceShare: 0.5, CatalogShare: 0.5, Window: 10 * time.Second,
		MinEndpoints: 4, MinCatalog: 10,
	}
	c.Register = Register{TTL: 15 * time.Second, DeregisterAfter: time.Minute}
	c.Connect.Service = "usher"
	return &c
}

func TestSecretFile(t *testing.T) {
	for name, tt := range map[string]struct{ content, want string }{
		"line end":          {"abc\n", "abc"},
		"windows line end":  {"abc\r\n", "abc"},
		"none":              {"abc", "abc"},
		"inner space stays": {" a b \n", " a b "},
		"not expanded":      {"${HOME}\n", "${HOME}"},
	} {
		main := writeFiles(t, map[string]string{
			"main.yaml":  "include: sub/a.yaml",
			"sub/a.yaml": "registries: [{type: consul, token_file: tok}]",
			"sub/tok":    tt.content,
		})
		cfg, err := Load(main, Options{Env: envOf(nil)})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(filepath.Dir(main), "sub/tok")
		c := cfg.Registries[0].Consul
		if c.Token != tt.want || c.TokenFile != path || !slices.Contains(cfg.Files, path) {
			t.Errorf("%s: got %+v, files %q", name, c, cfg.Files)
		}
	}
}
