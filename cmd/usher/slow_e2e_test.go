package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How a slow client goes about its request: what it sends first, what a byte at a time
// after that, and the status it ends with, 0 for none.
var slowKinds = []struct {
	name, first, rest string
	status            int
}{
	{"says nothing", "", "", 0},
	{"sends a head that never ends", "GET / HTTP/1.1\r\nHost: s.test\r\nX: ", strings.Repeat("x", 10_000), 408},
	{"stops within a head", "GET / HTTP/1.1\r\nHo", "", 408},
	{
		"sends a body that never ends", "POST / HTTP/1.1\r\nHost: s.test\r\nContent-Length: 16000\r\n\r\n",
		strings.Repeat("x", 10_000), 408,
	},
	{"stops within a body", "POST / HTTP/1.1\r\nHost: s.test\r\nContent-Length: 9\r\n\r\nx", "", 408},
	{
		"stops within a chunk, at its endpoint",
		"POST / HTTP/1.1\r\nHost: s.test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx", "", 408,
	},
	{
		"takes its time", "POST / HTTP/1.1\r\nHost: s.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
		"abc", 200,
	},
}

// slowClient is one connection.
type slowClient struct {
	net.Conn
	kind int
	sent int
}

// slowCount is how many there are: USHER_TEST_SLOW_CLIENTS, else so few that a busy
// machine gets round to all of them within their time.
func slowCount(t *testing.T) int {
	t.Helper()
	s := os.Getenv("USHER_TEST_SLOW_CLIENTS")
	if s == "" {
		return 400
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("USHER_TEST_SLOW_CLIENTS: %v", err)
	}
	return n
}

// Clients that send a byte now and then, or stop, keep nobody waiting. Each
// ends in its time, by a 408 where it had begun to ask, and leaves nothing behind.
func TestSlowClients(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes many connections")
	}
	n := slowCount(t)
	b := newBackend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "b")
	})
	u := startWithFile(t, b, "defaults: {idle_timeout: 10s, total_timeout: 11s}\n")
	conf, err := os.ReadFile(u.conf)
	if err != nil {
		t.Fatal(err)
	}
	u.write(strings.Replace(string(conf), `"127.0.0.1:0"}]`,
		`"127.0.0.1:0", header_timeout: 10s, keepalive_timeout: 10s}]`, 1))
	eventually(t, 10*time.Second, "reloaded", func() bool {
		return u.metric("usher_config_reloads_total", `result="success"`) == 1
	})
	goroutines, before := u.metric("go_goroutines"), u.metric("process_resident_memory_bytes")
	l := startLoad(t, u.web+"/", "s.test", 100)
	clients := make([]*slowClient, n)
	for i := range clients {
		clients[i] = newSlowClient(t, u, i%len(slowKinds))
	}
	begin := time.Now()
	most := u.trickle(t, clients)
	for _, c := range clients {
		c.check(t)
	}
	l.mustBeClean(200)
	http.DefaultClient.CloseIdleConnections()
	t.Logf("%d clients, of which at most %.0f were connected, in %v; %.1f KiB for each at the peak, %.1f MiB before",
		n, most, time.Since(begin).Round(time.Millisecond),
		(float64(u.peak())-before)/1024/most, before/(1<<20))
	if each := (float64(u.peak()) - before) / most; n >= 2000 && each > 64<<10 { // few tell nothing
		t.Errorf("%.0f bytes were resident for each", each)
	}
	eventually(t, 30*time.Second, "nothing is left", func() bool {
		return u.metric("usher_requests_in_flight") == 0 && u.metric("usher_open_connections") < 70 &&
			u.metric("usher_upstream_connections", `state="active"`) == 0 &&
			u.metric("go_goroutines") < goroutines+150
	})
}

// newSlowClient connects and sends what comes first.
func newSlowClient(t *testing.T, u *usher, kind int) *slowClient {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(u.web, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, slowKinds[kind].first); err != nil {
		t.Fatal(err)
	}
	return &slowClient{Conn: nc, kind: kind}
}

// trickle has each client send its next byte, again and again until all have ended or
// take too long, and returns how many were connected at most.
func (u *usher) trickle(t *testing.T, clients []*slowClient) (most float64) {
	t.Helper()
	eventually(t, time.Minute, "the slow clients have ended", func() bool {
		for _, c := range clients {
			if rest := slowKinds[c.kind].rest; c.sent < len(rest) {
				_, _ = io.WriteString(c, rest[c.sent:c.sent+1]) // it may have ended
				c.sent++
			}
		}
		open := u.metric("usher_open_connections")
		most = max(most, open)
		return open < 70 // those of the load
	})
	return most
}

// check reads what a client got.
func (c *slowClient) check(t *testing.T) {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c)
	want := ""
	if status := slowKinds[c.kind].status; status > 0 {
		want = fmt.Sprintf("HTTP/1.1 %d ", status)
	}
	if len(want) == 0 && len(b) > 0 || !strings.HasPrefix(string(b), want) {
		t.Errorf("one that %s got %.100q (%v)", slowKinds[c.kind].name, b, err)
	}
}
