package core

import "usher/proxy/wire"

// Challenges answers an ACME server that asks over HTTP who holds a name (HTTP-01, RFC
// 8555 §8.3): body is the answer to a request for this path of this host, in lower case
// and without a port. ok is false where the question is not one that some usher's
// authority asks: then the request is routed as any other. It is called from any
// goroutine and may block for as long as a look into a shared store takes.
type Challenges func(host, path string) (body []byte, ok bool)

// challengePath is what the paths of such questions begin with.
const challengePath = "/.well-known/acme-challenge/"

// Answer makes f answer ACME servers, before any route; nil: nobody does. It may be
// called from any goroutine.
func (c *Core) Answer(f Challenges) {
	if f == nil {
		c.challenges.Store(nil)
		return
	}
	c.challenges.Store(&f)
}

// challenged makes Own if the request is an ACME server's.
func (x *Exchange) challenged(f Challenges) bool {
	const n = len(challengePath)
	if len(x.Target) <= n || string(x.Target[:n]) != challengePath || string(x.Method) != "GET" {
		return false
	}
	x.scratch.hostPort = appendLower(x.scratch.hostPort[:0], x.Host)
	host, _ := wire.SplitHost(x.scratch.hostPort)
	body, ok := f(string(host), string(wire.Path(x.Target)))
	if ok {
		x.own = Own{Status: 200, Fields: []byte("Content-Type: application/octet-stream\r\n"), Body: body}
	}
	return ok
}
