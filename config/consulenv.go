package config

import (
	"strconv"
	"strings"
)

// envReader sets keys that the file leaves out from variables that are not
// empty, and notes the variable as the position of the value.
type envReader struct {
	path string // of the section
	d    *decoder
	l    *loader
}

// consulEnv applies the standard CONSUL_* variables to one registry.
func consulEnv(c *Consul, path string, d *decoder, l *loader) {
	e := envReader{path, d, l}
	if len(c.Addresses) == 0 {
		e.text(&c.Address, "address", "CONSUL_HTTP_ADDR")
	}
	e.text(&c.Namespace, "namespace", "CONSUL_NAMESPACE")
	e.text(&c.Partition, "partition", "CONSUL_PARTITION")
	e.text(&c.TLS.CAFile, "tls.ca_file", "CONSUL_CACERT")
	e.text(&c.TLS.CertFile, "tls.cert_file", "CONSUL_CLIENT_CERT")
	e.text(&c.TLS.KeyFile, "tls.key_file", "CONSUL_CLIENT_KEY")
	e.text(&c.TLS.ServerName, "tls.server_name", "CONSUL_TLS_SERVER_NAME")
	if verify, ok := e.flag("CONSUL_HTTP_SSL_VERIFY"); ok && !d.where.given(path+".tls.insecure_skip_verify") {
		c.TLS.InsecureSkipVerify = !verify
		d.where[path+".tls.insecure_skip_verify"] = Pos{File: "CONSUL_HTTP_SSL_VERIFY"}
	}
	e.token(c)
	if c.Address == "" && len(c.Addresses) == 0 && !d.where.given(path+".address") {
		c.Address = "127.0.0.1:8500"
	}
	if ssl, _ := e.flag("CONSUL_HTTP_SSL"); ssl {
		if c.Address != "" && !d.where.given(path+".address") {
			d.where[path+".address"] = Pos{File: "CONSUL_HTTP_SSL"}
		}
		c.Address = withHTTPS(c.Address)
		for i, a := range c.Addresses {
			c.Addresses[i] = withHTTPS(a)
		}
	}
}

// withHTTPS gives an address without a scheme that of TLS.
func withHTTPS(address string) string {
	if address == "" || strings.Contains(address, "://") {
		return address
	}
	return "https://" + address
}

func (e envReader) text(to *string, key, name string) {
	value, _ := e.l.env(name)
	at := child(e.path, key)
	if value == "" || e.d.where.given(at) {
		return
	}
	*to = value
	e.d.where[at] = Pos{File: name}
}

// token prefers the file where both variables are set, as Consul's own client
// does.
func (e envReader) token(c *Consul) {
	at := child(e.path, "token")
	if e.d.where.given(at) || e.d.where.given(at+"_file") {
		return
	}
	path, _ := e.l.env("CONSUL_HTTP_TOKEN_FILE")
	if path == "" {
		e.text(&c.Token, "token", "CONSUL_HTTP_TOKEN")
		return
	}
	c.TokenFile = path
	e.d.where[at+"_file"] = Pos{File: "CONSUL_HTTP_TOKEN_FILE"}
	e.d.secrets[at] = path
	c.Token, _ = e.l.secret(Pos{File: "CONSUL_HTTP_TOKEN_FILE"}, path)
}

func (e envReader) flag(name string) (value, ok bool) {
	text, _ := e.l.env(name)
	if text == "" {
		return false, false
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		e.l.problems.add(Pos{File: name}, "expected true or false, found %q", shorten(text))
	}
	return value, err == nil
}
