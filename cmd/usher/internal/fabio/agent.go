package fabio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"usher/config"
)

// The bounds of one request to the agent.
const (
	requestLimit = 10 * time.Second
	answerLimit  = 256 << 20
)

// Agent is what a Consul agent knows of a Fabio installation.
type Agent struct {
	KV KV
	// Instances are those of the services with a tag that announces a route.
	Instances []AgentInstance
	// Others counts the services without one.
	Others int
}

// AgentInstance is one instance of a service in Consul's catalog.
type AgentInstance struct {
	Node           string
	Address        string
	Datacenter     string
	ServiceID      string
	ServiceName    string
	ServiceAddress string
	ServicePort    int
	ServiceTags    []string
	ServiceMeta    map[string]string
}

// ReadAgent reads Fabio's keys and the services that announce a route from a Consul
// agent. It takes one request, and one more for each of these services; each waits
// ten seconds at most.
func ReadAgent(ctx context.Context, conf config.Consul, kvPath, tagPrefix string) (*Agent, error) {
	r, err := newAgentReader(conf)
	if err != nil {
		return nil, err
	}
	defer r.transport.CloseIdleConnections()
	a := &Agent{}
	var entries []kvEntry
	key := strings.TrimPrefix(kvPath, "/")
	if err := r.get(ctx, "/v1/kv/"+key+"?recurse=true", &entries); err != nil {
		return nil, err
	}
	a.KV = kvOf(entries, key)
	var services map[string][]string
	if err := r.get(ctx, "/v1/catalog/services", &services); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if !announces(services[name], tagPrefix) {
			a.Others++
			continue
		}
		var instances []AgentInstance
		if err := r.get(ctx, "/v1/catalog/service/"+url.PathEscape(name), &instances); err != nil {
			return nil, err
		}
		a.Instances = append(a.Instances, instances...)
	}
	return a, nil
}

// announces says whether one of the tags announces a route.
func announces(tags []string, prefix string) bool {
	return slices.ContainsFunc(tags, func(t string) bool {
		return strings.HasPrefix(strings.TrimSpace(t), prefix)
	})
}

// agentReader asks one agent.
type agentReader struct {
	base      string
	conf      config.Consul
	transport *http.Transport
}

func newAgentReader(conf config.Consul) (*agentReader, error) {
	base := strings.TrimSuffix(conf.Address, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if strings.HasPrefix(base, "unix:") {
		return nil, fmt.Errorf("the agent's address %q is a socket; give its HTTP address", base)
	}
	security, err := clientTLS(conf.TLS)
	if err != nil {
		return nil, err
	}
	return &agentReader{base, conf, &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: security, ForceAttemptHTTP2: true,
	}}, nil
}

func clientTLS(c config.ConsulTLS) (*tls.Config, error) {
	out := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify,
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the agent's authority: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%q holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate for the agent: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// get reads one answer into out. That there is nothing (404) leaves out as it is.
func (r *agentReader) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	r.complete(req)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the agent at %s: %w", r.base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer of %s%s: %w", r.base, path, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the agent answered %s to %s: %s", resp.Status, path, clip(strings.TrimSpace(string(body))))
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read the answer of %s%s: %w", r.base, path, err)
	}
	return nil
}

// complete adds the token and what part of Consul is meant.
func (r *agentReader) complete(req *http.Request) {
	q := req.URL.Query()
	for key, value := range map[string]string{
		"dc": r.conf.Datacenter, "ns": r.conf.Namespace, "partition": r.conf.Partition,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	req.URL.RawQuery = q.Encode()
	if r.conf.Token != "" {
		req.Header.Set("X-Consul-Token", r.conf.Token)
	}
}
