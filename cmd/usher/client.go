package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

// clientFlags are the flags of the commands that ask a running usher.
type clientFlags struct {
	admin, tokenFile string
	json             bool
	env              func(string) (string, bool)
}

func (p *process) addClientFlags(cmd *cobra.Command) *clientFlags {
	f := &clientFlags{env: p.env}
	fl := cmd.Flags()
	fl.StringVar(&f.admin, "admin", "127.0.0.1:9900",
		"`ADDR` of the admin listener of the usher to ask: host:port, http://… or unix:///path")
	fl.StringVar(&f.tokenFile, "admin-token-file", "", "`FILE` with the token of the admin listener")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return f
}

// client asks a running usher.
type client struct {
	base, token string
	// where is the address as the user gave it.
	where string
	http  *http.Client
}

// client returns the client of the flags. The token is that of the file, else
// USHER_ADMIN_TOKEN.
func (f *clientFlags) client() (*client, error) {
	c := &client{base: "http://" + f.admin, where: f.admin, http: &http.Client{Timeout: time.Minute}}
	if path, ok := strings.CutPrefix(f.admin, "unix://"); ok {
		c.base = "http://localhost"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	} else if strings.Contains(f.admin, "://") {
		c.base = strings.TrimSuffix(f.admin, "/")
	}
	c.token, _ = f.env("USHER_ADMIN_TOKEN")
	if f.tokenFile != "" {
		token, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, err
		}
		c.token = strings.TrimSpace(string(token))
	}
	return c, nil
}

// get asks for path, from /api/v1 on, and decodes the answer; into may be *[]byte for the
// answer as it stands.
func (c *client) get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// post sends body as JSON, nil for none.
func (c *client) post(ctx context.Context, path string, body, into any) error {
	return c.do(ctx, http.MethodPost, path, body, into)
}

func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = data
		return nil
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}

// open sends a request and returns the answer if it is a good one; the caller closes it.
func (c *client) open(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	return c.request(ctx, method, "/api/v1"+path, content)
}

// request sends what has the content, nil for none, to a path from the root on.
func (c *client) request(ctx context.Context, method, path string, content io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	return c.send(req)
}

func (c *client) authorize(req *http.Request) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// send sends a request and returns the answer if it is a good one; the caller closes it.
func (c *client) send(req *http.Request) (*http.Response, error) {
	c.authorize(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var said api.Error
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status says enough
	_ = json.Unmarshal(data, &said)
	why := cmp.Or(said.Error, strings.TrimSpace(string(data)), resp.Status)
	return nil, &refusedError{resp.StatusCode, term.Clean(why), data}
}

// refusedError is an answer that says no.
type refusedError struct {
	status int
	why    string
	body   []byte
}

func (e *refusedError) Error() string {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.why + " (the admin listener may want a token: --admin-token-file FILE, or USHER_ADMIN_TOKEN)"
	}
	return e.why
}

// unreachable says that nobody is there, without what the HTTP client wraps it in.
func (c *client) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("no usher answers at %s: is it running? --admin says where to ask (%w)", c.where, err)
}
