package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"usher/proxy/proxytest"
)

// webSocket starts an usher in front of a WebSocket server, and returns a client's
// connection through it.
func webSocket(t *testing.T, serveIt func(ctx context.Context, c *websocket.Conn)) (*websocket.Conn, context.Context) {
	t.Helper()
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"},
		})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		c.SetReadLimit(-1)
		defer func() { _ = c.CloseNow() }()
		ctx, cancel := context.WithTimeout(r.Context(), proxytest.Patience)
		defer cancel()
		serveIt(ctx, c)
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(address)})
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	t.Cleanup(cancel)
	options := &websocket.DialOptions{
		CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"},
	}
	c, _, err := websocket.Dial(ctx, "ws://"+u.Addr()+"/chat", options) //nolint:bodyclose // it is the connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	if c.Subprotocol() != "chat" {
		t.Errorf("the subprotocol is %q", c.Subprotocol())
	}
	return c, ctx
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

func TestWebSocketMessages(t *testing.T) {
	t.Parallel()
	c, ctx := webSocket(t, returnAll)
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, message := range []string{
			"", "hello", "grüße", strings.Repeat("0123456789", 30), strings.Repeat("long ", 200_000),
		} {
			sent := make(chan error, 1)
			go func() { sent <- c.Write(ctx, kind, []byte(message)) }()
			got, b, err := c.Read(ctx)
			if err != nil || got != kind || string(b) != message {
				t.Fatalf("%v of %d bytes: got %v of %d bytes, %v", kind, len(message), got, len(b), err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A message of many frames is one message, with pings between its frames.
func TestWebSocketFragments(t *testing.T) {
	t.Parallel()
	c, ctx := webSocket(t, returnAll)
	type message struct {
		text string
		err  error
	}
	got := make(chan message, 1)
	go func() {
		_, b, err := c.Read(ctx) // which also answers pings
		got <- message{string(b), err}
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
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if m := waitAndGet(t, got); m.text != want.String() || m.err != nil {
		t.Errorf("got %d bytes, %v, want %d", len(m.text), m.err, want.Len())
	}
}

func TestWebSocketPing(t *testing.T) {
	t.Parallel()
	c, ctx := webSocket(t, func(ctx context.Context, c *websocket.Conn) {
		ctx = c.CloseRead(ctx)
		if err := c.Ping(ctx); err != nil {
			t.Errorf("ping of the server: %v", err)
		}
		<-ctx.Done()
	})
	ctx = c.CloseRead(ctx)
	for range 3 {
		if err := c.Ping(ctx); err != nil {
			t.Fatalf("ping of the client: %v", err)
		}
	}
}

// The code and the reason of a close reach the other side unchanged.
func TestWebSocketClose(t *testing.T) {
	t.Parallel()
	for _, code := range []websocket.StatusCode{
		websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusTryAgainLater, 3000, 4999,
	} {
		want := websocket.CloseError{Code: code, Reason: "because"}
		told := func(t *testing.T, who string, err error) {
			t.Helper()
			var got websocket.CloseError
			if !errors.As(err, &got) || got != want {
				t.Errorf("%s got %v, want %v", who, err, want)
			}
		}
		t.Run("by the client", func(t *testing.T) {
			t.Parallel()
			heard := make(chan error, 1)
			c, _ := webSocket(t, func(ctx context.Context, c *websocket.Conn) {
				_, _, err := c.Read(ctx)
				heard <- err
			})
			if err := c.Close(code, "because"); err != nil {
				t.Errorf("the handshake of the close: %v", err)
			}
			told(t, "the server", waitAndGet(t, heard))
		})
		t.Run("by the server", func(t *testing.T) {
			t.Parallel()
			agreed := make(chan error, 1)
			c, ctx := webSocket(t, func(_ context.Context, c *websocket.Conn) { agreed <- c.Close(code, "because") })
			_, _, err := c.Read(ctx)
			told(t, "the client", err)
			if err := waitAndGet(t, agreed); err != nil {
				t.Errorf("the handshake of the close: %v", err)
			}
		})
	}
}

// A server that will not is heard as it is.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", http.StatusForbidden) })
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(address)})
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	defer cancel()
	_, resp, err := websocket.Dial(ctx, "ws://"+u.Addr()+"/", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Fatalf("got %v, %v", resp, err)
	}
	resp.Body.Close()
}

// Towards the endpoint it may be TLS, whose bytes go through buffers.
func TestWebSocketOverTLS(t *testing.T) {
	t.Parallel()
	const messages, size = 20, 100_000
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		c.SetReadLimit(-1)
		for range messages {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				t.Errorf("read: %v", err)
			}
		}
		if err := c.Close(4000, "enough"); err != nil {
			t.Errorf("close: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{{
		Name: "origin", Routes: []string{"/ proto=https tlsskipverify=true"},
		Addresses: []string{s.Listener.Addr().String()},
	}}})
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+u.Addr()+"/", nil) //nolint:bodyclose // it is the connection
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(-1)
	for i := range messages {
		want := bytes.Repeat([]byte{byte(i)}, i*size/messages)
		if err := c.Write(ctx, websocket.MessageBinary, want); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("got %d bytes, %v, want %d", len(b), err, len(want))
		}
	}
	_, _, err = c.Read(ctx)
	if websocket.CloseStatus(err) != 4000 {
		t.Errorf("got %v", err)
	}
	u.Quiet()
}
