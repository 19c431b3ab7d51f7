package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// wait is how long a blocking query may wait at the agent. A cancelled query goes
// on there until it is over, so it is short.
const wait = 55 * time.Second

// The deadlines: a blocking query may take its wait, the agent's jitter of a
// sixteenth and a margin; a plain one, which a frozen agent would hang, less.
const (
	blockingDeadline = wait*17/16 + 10*time.Second
	plainDeadline    = 5 * time.Second
)

// newClient makes the client of an agent. The transport's idle connections are for
// the caller to close.
func newClient(c config.Consul) (*api.Client, *http.Transport, error) {
	conf := api.DefaultConfig()
	conf.Address, conf.Scheme = strings.TrimPrefix(c.Address, "http://"), "http"
	if rest, ok := strings.CutPrefix(c.Address, "https://"); ok {
		conf.Address, conf.Scheme = rest, "https"
	}
	conf.Datacenter, conf.Namespace, conf.Partition = c.Datacenter, c.Namespace, c.Partition
	conf.Token, conf.TokenFile = c.Token, ""
	conf.TLSConfig = api.TLSConfig{
		Address: c.TLS.ServerName, CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
		InsecureSkipVerify: c.TLS.InsecureSkipVerify,
	}
	t := transport()
	conf.Transport = t
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: consul %s: %w", watcher.ErrInvalid, c.Address, err)
	}
	return client, t, nil
}

// transport keeps one connection for each blocking query: the default of a few
// idle connections would open and close one at every answer.
func transport() *http.Transport {
	d := &net.Dialer{Timeout: plainDeadline, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: d.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 4096, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: plainDeadline,
	}
}

// blocking returns the options of a query that waits for a change after index; an
// index of 0 makes it a plain one. cancel must be called when it is over.
func blocking(ctx context.Context, index uint64) (o *api.QueryOptions, cancel context.CancelFunc) {
	limit := blockingDeadline
	if index == 0 {
		limit = plainDeadline
	}
	ctx, cancel = context.WithTimeout(ctx, limit)
	o = &api.QueryOptions{WaitIndex: index, WaitTime: wait}
	return o.WithContext(ctx), cancel
}

// reason is one word for a failed query.
func reason(err error) string {
	var status api.StatusError
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("http_%d", status.Code)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	default:
		return "unreachable"
	}
}

// step follows the index of a query (Consul's rules for blocking queries). It
// returns the index to go on with, and whether the answer may be applied: one
// whose index fell is not, and is asked for again from 0.
func step(last, got uint64) (next uint64, apply bool) {
	if got < last {
		return 0, false
	}
	return max(1, got), true
}
