package healthcheck

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
)

// askHTTP2 is askHTTP of an endpoint that speaks HTTP/2, and nothing else.
func (a *asker) askHTTP2(ctx context.Context, t *target) (draining bool, err error) {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if t.tls != nil {
		cfg, err := a.configOf(t.tls)
		if err != nil {
			return false, err
		}
		scheme, transport.TLSClientConfig = "https", cfg.Clone()
		transport.Protocols.SetHTTP2(true)
	} else {
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	req, err := t.request2(ctx, scheme)
	if err != nil {
		return false, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, fmt.Errorf("no response: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // the connection closes behind it
	return t.understand(resp)
}

// request2 is what is asked by HTTP/2.
func (t *target) request2(ctx context.Context, scheme string) (*http.Request, error) {
	method := cmp.Or(t.check.Method, http.MethodGet)
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+t.address()+t.check.Path, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Host = cmp.Or(t.check.Host, t.address())
	req.Header.Set("User-Agent", "usher-health")
	req.Header.Set("Accept", "*/*")
	for name, value := range t.check.Headers {
		req.Header.Set(name, value)
	}
	return req, nil
}
