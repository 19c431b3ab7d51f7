package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// connection is a client and what is behind it. The transport's idle connections are
// for the caller to close.
type connection struct {
	client    *api.Client
	agents    *agents
	transport *http.Transport
}

// connect makes the connection to the agents that c describes; it asks none yet.
// moved is told, in the goroutine that noticed and without a lock held, of each change
// of the agent in use and why; nil: nobody is. The log gets what is wrong with the
// token's file.
func connect(c config.Consul, log *slog.Logger, moved func(from, to, reason string)) (*connection, error) {
	client, err := connectTo(c, log, moved)
	if err != nil {
		return nil, fmt.Errorf("%w: consul %s: %w", watcher.ErrInvalid, strings.Join(addresses(c), ", "), err)
	}
	return client, nil
}

func connectTo(c config.Consul, log *slog.Logger, moved func(from, to, reason string)) (*connection, error) {
	list, err := parseAgents(addresses(c))
	if err != nil {
		return nil, err
	}
	conf, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: c.TLS.ServerName, CAFile: c.TLS.CAFile, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
		InsecureSkipVerify: c.TLS.InsecureSkipVerify,
	})
	if err != nil {
		return nil, err
	}
	t := transport(newDialer(list, conf))
	a := newAgents(list, t, moved)
	scheme, host := a.base()
	client, err := api.NewClient(&api.Config{
		Address: host, Scheme: scheme,
		Datacenter: c.Datacenter, Namespace: c.Namespace, Partition: c.Partition,
		// An empty one would be taken from the environment.
		Token:      "set with each request",
		HttpClient: &http.Client{Transport: &authorized{a, newToken(c.Token, c.TokenFile, log)}},
	})
	if err != nil {
		return nil, err
	}
	return &connection{client, a, t}, nil
}

// newClient is connect for who needs no more than the client. The transport's idle
// connections are for the caller to close.
func newClient(c config.Consul) (*api.Client, *http.Transport, error) {
	conn, err := connect(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, nil, err
	}
	return conn.client, conn.transport, nil
}

// addresses are those of the agents, in the order in which they are preferred.
func addresses(c config.Consul) []string {
	if len(c.Addresses) > 0 {
		return c.Addresses
	}
	return []string{c.Address}
}

// multiplexed says whether every agent takes all queries on a few connections, as
// HTTP/2 does, which Consul speaks over TLS alone.
func multiplexed(c config.Consul) bool {
	for _, address := range addresses(c) {
		if !strings.HasPrefix(address, "https://") {
			return false
		}
	}
	return true
}

// The pings that find out whether an HTTP/2 connection is still good: all queries
// wait on it, and none of them would notice within a minute.
const (
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// transport keeps one connection for each blocking query: the default of a few
// idle connections would open and close one at every answer.
func transport(d *dialer) *http.Transport {
	return &http.Transport{
		DialContext: d.dial, DialTLSContext: d.dialTLS, ForceAttemptHTTP2: true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConnsPerHost: 4096, IdleConnTimeout: 90 * time.Second,
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
	case errors.Is(err, errMoved):
		return "agent_left"
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
