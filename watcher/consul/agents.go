package consul

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"usher/watcher"
)

// returnEvery is how often the agents before the one in use are tried again.
const returnEvery = 30 * time.Second

// errMoved is the end of a request to an agent that was given up for another one. The
// next request goes to that one.
var errMoved = errors.New("its agent was given up for another one")

// agent is one of the agents that may be asked.
type agent struct {
	// name is the address as it was configured.
	name string
	// url has the scheme, the host and, as its path, the prefix of every request.
	url *url.URL
	// socket is the path of a Unix socket, empty for the others; url.Host stands for it.
	socket string

	// alive ends, by end, when the agent is given up; the list's mu guards both.
	alive context.Context
	end   context.CancelFunc
}

// agents sends requests to the first agent it can connect to. They are asked in
// order, beginning with the current one: a failure to connect goes on to the next
// one, and the one that answers becomes the current one. All agents must be of one
// datacenter, since an index goes on with another agent.
//
// Where there is but one, it is all there is and nothing is ever given up.
//
// It is an http.RoundTripper, for any goroutine. run, which leads back to the first
// agent, needs one of its own.
type agents struct {
	list []*agent
	next http.RoundTripper
	// moved is told of each change.
	moved func(from, to, reason string)

	mu sync.Mutex
	// at is the place of the current one.
	at int
}

func newAgents(list []*agent, next http.RoundTripper, moved func(from, to, reason string)) *agents {
	if moved == nil {
		moved = func(string, string, string) {}
	}
	for _, g := range list {
		g.alive, g.end = context.WithCancel(context.Background())
	}
	return &agents{list: list, next: next, moved: moved}
}

// parseAgents parses the addresses of agents, of which there must be one.
func parseAgents(addresses []string) ([]*agent, error) {
	list := make([]*agent, 0, len(addresses))
	for i, address := range addresses {
		a, err := parseAgent(address, i)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	if len(list) == 0 {
		return nil, errors.New("no address")
	}
	return list, nil
}

// parseAgent parses one address: host:port, http://…, https://… or unix://…. The
// place tells Unix sockets apart, which have no host.
func parseAgent(address string, place int) (*agent, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "http", address
	}
	a := &agent{name: address}
	switch scheme {
	case "unix":
		a.socket = rest
		a.url = &url.URL{Scheme: "http", Host: fmt.Sprintf("socket-%d.invalid", place)}
		if rest == "" {
			return nil, fmt.Errorf("address %q names no socket", address)
		}
		return a, nil
	case "http", "https":
	default:
		return nil, fmt.Errorf("address %q: unknown scheme %q", address, scheme)
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address %q: expected a host, a port and perhaps a path", address)
	}
	u = u.JoinPath("/")
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
	a.url = u
	return a, nil
}

// base is the scheme and the host that stand in the client's URLs, for messages: with
// several agents the errors tell which it was.
func (a *agents) base() (scheme, host string) {
	if g := a.list[0]; len(a.list) == 1 && g.socket == "" {
		return g.url.Scheme, g.url.Host
	}
	return "http", "consul"
}

// current is the address of the agent in use, as it was configured.
func (a *agents) current() string {
	i, _ := a.place()
	return a.list[i].name
}

// place is the place of the current agent, and what ends when it is given up.
func (a *agents) place() (i int, alive context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at, a.list[a.at].alive
}

// alive is what ends when any agent is given up.
func (a *agents) alive(i int) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list[i].alive
}

// RoundTrip implements http.RoundTripper.
func (a *agents) RoundTrip(req *http.Request) (*http.Response, error) {
	first, alive := a.place()
	var failures error
	for n := range a.list {
		i := (first + n) % len(a.list)
		if n > 0 {
			alive = a.alive(i)
		}
		resp, err := a.send(alive, i, req)
		if err == nil {
			if n > 0 {
				a.move(first, i, failures.Error(), true)
			}
			return resp, nil
		}
		failures = joinErrors(failures, err)
		if !unreachable(req, err) {
			break
		}
		if req, err = again(req); err != nil {
			break
		}
	}
	return nil, failures
}

// joinErrors is errors.Join on one line.
func joinErrors(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w; %w", a, b)
}

// unreachable says whether a request failed because its agent cannot be reached.
func unreachable(req *http.Request, err error) bool {
	var dial *dialError
	return errors.As(err, &dial) && req.Context().Err() == nil
}

// again is a request that was not sent, for another agent. It does not wait: a
// blocking query must be answered at once, since the index may mean nothing there.
func again(req *http.Request) (*http.Request, error) {
	out := req.Clone(req.Context())
	if req.Body != nil && req.Body != http.NoBody {
		if req.GetBody == nil {
			return nil, errors.New("the body cannot be sent again")
		}
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	if query := out.URL.Query(); query.Has("index") {
		query.Del("index")
		query.Del("wait")
		out.URL.RawQuery = query.Encode()
	}
	return out, nil
}

// send sends a request to one agent. It ends with alive.
func (a *agents) send(alive context.Context, i int, req *http.Request) (*http.Response, error) {
	g := a.list[i]
	if len(a.list) == 1 {
		return a.next.RoundTrip(g.address(req))
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(alive, func() { cancel(errMoved) })
	release := func() {
		stop()
		cancel(nil)
	}
	resp, err := a.next.RoundTrip(g.address(req.WithContext(ctx)))
	if err != nil {
		defer release()
		return nil, fmt.Errorf("agent %s: %w", g.name, reasonOf(ctx, err))
	}
	resp.Body = &body{resp.Body, ctx, release}
	return resp, nil
}

// address is a copy of a request that is for the agent.
func (g *agent) address(req *http.Request) *http.Request {
	out := req.WithContext(req.Context())
	u := *req.URL
	u.Scheme, u.Host = g.url.Scheme, g.url.Host
	if g.url.Path != "" {
		u.RawPath = g.url.EscapedPath() + req.URL.EscapedPath()
		u.Path = g.url.Path + u.Path
	}
	out.URL, out.Host = &u, u.Host
	if g.socket != "" {
		out.Host = "localhost"
	}
	return out
}

// body is that of a response: it ends when the agent is given up.
type body struct {
	io.ReadCloser
	ctx     context.Context
	release func()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract is that very value
		err = reasonOf(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// reasonOf is the error of a request: errMoved where that is what ended it.
func reasonOf(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errMoved) {
		return errMoved
	}
	return err
}

// move makes another agent the current one, unless that changed meanwhile. It ends
// the requests to the one before when that one is given up. It returns whether there
// was a change.
func (a *agents) move(from, to int, reason string, givenUp bool) bool {
	a.mu.Lock()
	if a.at != from || from == to {
		a.mu.Unlock()
		return false
	}
	a.at = to
	g := a.list[from]
	if givenUp {
		g.end()
		g.alive, g.end = context.WithCancel(context.Background())
	}
	a.mu.Unlock()
	a.moved(g.name, a.list[to].name, reason)
	return true
}

// failed gives up an agent that answers, but not as it should: it moves on to the next
// one that answers and has a leader, and returns whether there is one. Nothing happens
// when the agent is not the current one any more.
func (a *agents) failed(ctx context.Context, name, reason string) bool {
	from, _ := a.place()
	if a.list[from].name != name {
		return false
	}
	for n := 1; n < len(a.list); n++ {
		to := (from + n) % len(a.list)
		if a.leads(ctx, to) == nil {
			return a.move(from, to, reason, true)
		}
	}
	return false
}

// run goes back to the first agent that works, as soon as one before the current one
// does, until ctx ends.
func (a *agents) run(ctx context.Context) {
	for len(a.list) > 1 && watcher.Sleep(ctx, returnEvery) {
		a.tryFirst(ctx)
	}
}

// tryFirst tries the agents before the current one. The one that is left still works:
// the requests under way end by themselves.
func (a *agents) tryFirst(ctx context.Context) {
	from, _ := a.place()
	for to := range from {
		if a.leads(ctx, to) == nil {
			a.move(from, to, "it answers again and comes before", false)
			return
		}
	}
}

// leads asks an agent for its leader and returns nil when there is one.
func (a *agents) leads(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://consul/v1/status/leader", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := a.send(a.alive(i), i, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var leader string
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&leader)
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	if err != nil || leader == "" {
		return cmp.Or(err, errNoLeader)
	}
	return nil
}
