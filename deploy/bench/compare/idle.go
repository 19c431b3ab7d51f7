package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"usher/deploy/bench/internal/programs"
)

// quiet is how long connections are idle before their memory is read: enough for a
// proxy to give back what it will.
const quiet = 5 * time.Second

// kind is one kind of connection.
type kind struct {
	name, over string
	bar        float64 // KiB an idle one, at most
	protocol   string  // agreed on over TLS
	ask        func(c net.Conn) error
	answer     func(c net.Conn) error
}

// kinds is every kind of connection whose memory is measured.
var kinds = []kind{
	{"HTTP/1.1", overPlain, 2, "", askHTTP1, answerHTTP1},
	{"HTTP/1.1 over TLS", overTLS, 5, "http/1.1", askHTTP1, answerHTTP1},
	{"HTTP/2", overTLS, 8, "h2", askHTTP2, answerHTTP2},
}

// idleResult is what idle client connections cost a proxy.
type idleResult struct {
	Kind     string  `json:"kind"`
	Proxy    string  `json:"proxy"`
	KiB      float64 `json:"kib_each"`
	Bar      float64 `json:"bar,omitempty"`        // usher's alone
	Upstream int     `json:"upstream_connections"` // that the proxy keeps meanwhile
	Before   float64 `json:"before_mib"`
	After    float64 `json:"after_mib"`
}

// measureAllIdle measures every kind with every proxy that knows it, if that is wanted.
func (b *bench) measureAllIdle(ctx context.Context, rep *report) error {
	for _, k := range kinds {
		for _, p := range b.those(k.over) {
			if b.idle == 0 {
				return nil
			}
			fmt.Fprintf(b.progress, "%d idle connections, %s: %s\n", b.idle, k.name, p.name)
			res, err := b.measureIdle(ctx, p, k)
			if err != nil {
				return fmt.Errorf("%s, idle connections, %s: %w", p.name, k.name, err)
			}
			rep.Idle = append(rep.Idle, res)
		}
	}
	return nil
}

// measureIdle opens the connections, asks once on each, on as many at the same time as
// the loads have, so that the proxy needs upstream connections too, and leaves them alone.
func (b *bench) measureIdle(ctx context.Context, p proxy, k kind) (idleResult, error) {
	res := idleResult{Kind: k.name, Proxy: p.name}
	if p.name == usher {
		res.Bar = k.bar
	}
	pool, err := programs.Pool(b.dir)
	if err != nil {
		return res, err
	}
	proc, at, err := b.launch(ctx, b.proxyCore, p, k.over)
	if err != nil {
		return res, err
	}
	defer proc.Stop()
	if res.Before, err = proc.memory("VmRSS"); err != nil {
		return res, err
	}
	before := proc.sockets()
	for left := b.idle; left > 0; left -= b.conns {
		conns, err := k.dial(ctx, at[k.over], pool, min(left, b.conns))
		for _, c := range conns {
			defer c.Close()
		}
		if err != nil {
			return res, err
		}
		if err := k.exchange(conns...); err != nil {
			return res, err
		}
	}
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
		return res, ctx.Err()
	}
	res.After, err = proc.memory("VmRSS")
	res.KiB = (res.After - res.Before) * 1024 / float64(b.idle)
	res.Upstream = max(0, proc.sockets()-before-b.idle)
	return res, err
}

// dial opens n connections; the caller closes those it gets, on an error too.
func (k kind) dial(ctx context.Context, addr string, pool *x509.CertPool, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, n)
	for range n {
		d := net.Dialer{Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return conns, fmt.Errorf("connect: %w", err)
		}
		if k.protocol != "" {
			secure := tls.Client(c, &tls.Config{
				RootCAs: pool, ServerName: host, NextProtos: []string{k.protocol},
			})
			c.SetDeadline(time.Now().Add(30 * time.Second))
			if err := secure.HandshakeContext(ctx); err != nil {
				return append(conns, c), fmt.Errorf("handshake: %w", err)
			}
			c = secure
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// once makes a connection for a single request.
func (k kind) once(ctx context.Context, addr string, pool *x509.CertPool) error {
	conns, err := k.dial(ctx, addr, pool, 1)
	for _, c := range conns {
		defer c.Close()
	}
	if err != nil {
		return err
	}
	return k.exchange(conns...)
}

// exchange sends a small request on every connection, then reads every answer.
func (k kind) exchange(conns ...net.Conn) error {
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		if err := k.ask(c); err != nil {
			return fmt.Errorf("ask: %w", err)
		}
	}
	for _, c := range conns {
		if err := k.answer(c); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

func askHTTP1(c net.Conn) error {
	_, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	return err
}

func answerHTTP1(c net.Conn) error {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %w", resp.Status, err)
	}
	return nil
}

// askHTTP2 begins a connection and asks on its first stream.
func askHTTP2(c net.Conn) error {
	w := bufio.NewWriter(c)
	if _, err := io.WriteString(w, http2.ClientPreface); err != nil {
		return err
	}
	fr := http2.NewFramer(w, nil)
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	err := fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, EndStream: true, EndHeaders: true,
		BlockFragment: headerBlock(":method", "GET", ":scheme", "https", ":authority", host, ":path", "/small"),
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// answerHTTP2 reads until the first stream has ended; its status must be 200.
func answerHTTP2(c net.Conn) error {
	fr := http2.NewFramer(c, bufio.NewReader(c))
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for good := false; ; {
		f, err := fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			good = good || f.PseudoValue("status") == "200"
		case *http2.RSTStreamFrame:
			return fmt.Errorf("the stream is reset: %v", f.ErrCode)
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := fr.WriteSettingsAck(); err != nil {
					return err
				}
			}
		}
		head := f.Header()
		if head.StreamID == 1 && head.Flags.Has(http2.FlagDataEndStream) && head.Type != http2.FrameWindowUpdate {
			if !good {
				return fmt.Errorf("the status is not 200")
			}
			return nil
		}
	}
}
