package http1

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/tunnel"
	"usher/proxy/upstream"
)

// upgraded is a connection whose endpoint has agreed to another protocol: a tunnel, and
// what records it.
type upgraded struct {
	*tunnel.Tunnel
	up   *upstream.Conn
	core *core.Tunnel
}

// forwardUpgrade serves a request that asks for another protocol, and says whether the
// connection goes on. What is not let through, or cannot be, is served without it.
func (c *conn) forwardUpgrade() bool {
	if c.Head.Minor == 1 && !c.Body.Streamed {
		c.Upgrade = c.server.core.Upgrade(&c.X, c.Upgrade[:0])
	}
	if len(c.Upgrade) == 0 {
		whole, _ := c.Forward() // nobody asked for another protocol
		return c.finish(whole)
	}
	if !c.server.tunnels.Reserve() {
		return c.fail(core.Overloaded, "this listener has no room for another "+string(c.Upgrade)+" connection")
	}
	defer func() {
		if c.tunnel.Load() == nil {
			c.server.tunnels.Cancel()
		}
	}()
	whole, switched := c.Forward()
	if switched == nil {
		return c.finish(whole)
	}
	c.openTunnel(switched)
	return false
}

// openTunnel passes the endpoint's 101 on and makes the connection a tunnel: it serves no
// more requests.
func (c *conn) openTunnel(a *core.Attempt) {
	c.keep = false
	up := c.Switch(a)
	if up == nil {
		return
	}
	c.tunnel.Store(c.newTunnel(up))
	c.watch.Wait(c.now())
}

// newTunnel takes over the connection to the endpoint, the exchange, and what the client
// has sent behind its request.
func (c *conn) newTunnel(up *upstream.Conn) *upgraded {
	_, _ = c.br.Discard(c.Body.Buffered)
	behind, _ := c.br.Peek(c.br.Buffered())
	t := &upgraded{up: up, core: c.server.tunnels.Open(&c.X)}
	client := tunnel.Client(c.nc, c.raw)
	if c.secure != nil {
		client = tunnel.SecureClient(c.nc, c.secure)
	}
	t.Tunnel = tunnel.New(tunnel.Options{
		Client: client, Endpoint: tunnel.Endpoint(up), Early: bytes.Clone(behind),
		Over: t.core.Over, Closing: &c.server.closing, Sweeper: c.server.sweeper, Log: c.server.log,
	})
	return t
}

// runTunnel moves bytes until the tunnel is over, and records it. The connection to the
// client is closed afterwards.
func (c *conn) runTunnel(t *upgraded) {
	c.release()
	r := t.Run()
	t.up.Close()
	t.core.End(fasthttp.StatusSwitchingProtocols, r.Sent, r.Got, r.Reason, c.now())
}
