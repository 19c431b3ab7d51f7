package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// closeCodes are those that either side may close with.
func closeCodes() []websocket.StatusCode { return []websocket.StatusCode{1000, 1001, 1013, 3000, 4999} }

// echo is a WebSocket server: it echoes, pings, closes or cuts, as the path says.
type echo struct {
	*httptest.Server
	open atomic.Int32 // conversations under way
}

// below is the key of the connection below a WebSocket.
type below struct{}

// startEcho starts one, over TLS if there are credentials.
func startEcho(t *testing.T, c *credentials) *echo {
	t.Helper()
	e := &echo{}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return // it is there
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		e.open.Add(1)
		defer e.open.Add(-1)
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(-1)
		e.play(r, conn)
	}))
	e.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, below{}, c)
	}
	if c != nil {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			t.Fatal(err)
		}
		e.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		e.StartTLS()
	} else {
		e.Start()
	}
	t.Cleanup(e.Close)
	return e
}

// play plays the server's part; what goes wrong the client sees.
func (e *echo) play(r *http.Request, conn *websocket.Conn) {
	ctx := r.Context()
	if r.URL.Path == "/echo" {
		returnAll(ctx, conn)
		return
	}
	if _, _, err := conn.Read(ctx); err != nil {
		return
	}
	switch r.URL.Path {
	case "/ping":
		alone := conn.CloseRead(ctx)
		for range 3 {
			if conn.Ping(alone) != nil {
				return
			}
		}
		_ = conn.Close(websocket.StatusNormalClosure, "pinged")
	case "/close":
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		_ = conn.Close(websocket.StatusCode(code), "because")
	case "/cut":
		const head = "\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x00" // of a binary message of 1 MiB
		_, _ = io.WriteString(ctx.Value(below{}).(net.Conn), head+"and not much of it")
	}
}

// returnAll sends every message back, in frames of the size that it reads.
func returnAll(ctx context.Context, c *websocket.Conn) {
	for {
		kind, r, err := c.Reader(ctx)
		if err != nil {
			return
		}
		w, err := c.Writer(ctx, kind)
		if err != nil {
			return
		}
		if _, err := io.Copy(w, r); err != nil || w.Close() != nil {
			return
		}
	}
}

// quiet waits until no conversation is under way: an end has reached the server.
func (e *echo) quiet(t *testing.T) {
	t.Helper()
	eventually(t, patience, "the server has heard of every end", func() bool { return e.open.Load() == 0 })
}

// sockets are the conversations that a client has at an address.
type sockets struct {
	url string
	*credentials
}

// socketsAt speaks TLS if there are credentials.
func socketsAt(address string, c *credentials) sockets {
	if c != nil {
		return sockets{"wss://" + address, c}
	}
	return sockets{"ws://" + address, nil}
}

// talk opens a connection to a path.
func (s sockets) talk(t *testing.T, path string) (*websocket.Conn, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // some last as long as the whole matrix
	t.Cleanup(cancel)
	tr := &http.Transport{}
	if s.credentials != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: s.Pool()}
	}
	options := &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}}
	c, _, err := websocket.Dial(ctx, s.url+path, options) //nolint:bodyclose // it is the connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	return c, ctx
}

// matrix plays every case with coder/websocket and with npm's ws.
func (s sockets) matrix(t *testing.T) {
	t.Helper()
	t.Run("coder/websocket", s.coder)
	t.Run("ws", s.node)
}

// node plays those of npm's ws; deploy/tools/ws/client.mjs has them.
func (s sockets) node(t *testing.T) {
	tool(t, "ws/node_modules")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "node"), tool(t, "ws/client.mjs"), s.url)
	if s.credentials != nil {
		cmd.Args = append(cmd.Args, s.ca)
	}
	out, err := cmd.CombinedOutput()
	if n := strings.Count(string(out), "ok "); err != nil || n != 8 {
		t.Errorf("%v, %d cases passed\n%s", err, n, out)
	}
}

func (s sockets) coder(t *testing.T) {
	t.Run("messages", func(t *testing.T) {
		c, ctx := s.talk(t, "/echo")
		for _, text := range []string{
			"", "hello", "grüße", strings.Repeat("0123456789", 30), strings.Repeat("long ", 50_000),
		} {
			echoed(ctx, t, c, websocket.MessageText, []byte(text))
			echoed(ctx, t, c, websocket.MessageBinary, []byte(text))
		}
	})
	t.Run("fragments", s.fragments)
	t.Run("ping", s.pings)
	t.Run("large", func(t *testing.T) {
		c, ctx := s.talk(t, "/echo")
		random := make([]byte, 16<<20)
		_, _ = rand.Read(random)
		echoed(ctx, t, c, websocket.MessageBinary, random)
		echoed(ctx, t, c, websocket.MessageText, bytes.Repeat([]byte("x"), 16<<20))
	})
	t.Run("close by the server", func(t *testing.T) {
		for _, code := range closeCodes() {
			c, ctx := s.talk(t, fmt.Sprintf("/close?code=%d", code))
			say(ctx, t, c)
			_, _, err := c.Read(ctx)
			var got websocket.CloseError
			if !errors.As(err, &got) || got.Code != code || got.Reason != "because" {
				t.Errorf("%d: %v", code, err)
			}
		}
	})
	t.Run("close by the client", func(t *testing.T) {
		for _, code := range closeCodes() {
			c, _ := s.talk(t, "/echo")
			if err := c.Close(code, "because"); err != nil { // the answer repeats it
				t.Errorf("%d: %v", code, err)
			}
		}
	})
	t.Run("cut by the server", func(t *testing.T) {
		c, ctx := s.talk(t, "/cut")
		say(ctx, t, c)
		if _, b, err := c.Read(ctx); err == nil || websocket.CloseStatus(err) != -1 || ctx.Err() != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
	t.Run("cut by the client", func(t *testing.T) {
		c, ctx := s.talk(t, "/echo")
		if w, err := c.Writer(ctx, websocket.MessageBinary); err != nil {
			t.Error(err)
		} else if _, err := w.Write(make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
		_ = c.CloseNow()
	})
}

// fragments sends a message of many frames, with pings between them.
func (s sockets) fragments(t *testing.T) {
	c, ctx := s.talk(t, "/echo")
	got := make(chan []byte, 1)
	go func() {
		_, b, _ := c.Read(ctx) // which also hears the pongs
		got <- b
	}()
	w, err := c.Writer(ctx, websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 50 {
		part := strings.Repeat(string(rune('a'+i%26)), 1+i*100)
		want.WriteString(part)
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
		if i%10 == 5 {
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, want.Bytes()) {
		t.Errorf("got %d bytes, want %d", len(b), want.Len())
	}
}

// pings pings, and is pinged, which Read answers.
func (s sockets) pings(t *testing.T) {
	c, ctx := s.talk(t, "/ping")
	heard := make(chan error, 1)
	go func() {
		_, _, err := c.Read(ctx)
		heard <- err
	}()
	// The server reads only after the first message, whatever comes before.
	for range 3 {
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	say(ctx, t, c)
	if err := <-heard; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("after three pings of the server: %v", err)
	}
}

// say sends something that is not echoed.
func say(ctx context.Context, t *testing.T, c *websocket.Conn) {
	t.Helper()
	if err := c.Write(ctx, websocket.MessageText, []byte("go")); err != nil {
		t.Fatal(err)
	}
}

// echoed sends a message and reads it back.
func echoed(ctx context.Context, t *testing.T, c *websocket.Conn, kind websocket.MessageType, message []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- c.Write(ctx, kind, message) }()
	got, b, err := c.Read(ctx)
	if err != nil || got != kind || !bytes.Equal(b, message) {
		t.Fatalf("%v of %d bytes: got %v of %d bytes, %v", kind, len(message), got, len(b), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
