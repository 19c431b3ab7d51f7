package proxy_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// size is a number from the environment: the scripts of deploy/bench ask for more than
// the suite has time for.
func size(t *testing.T, name string, suite int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return suite
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// resident is what a process holds after two collections, which empty the pools.
func resident() (heap uint64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

// Many connections that send their heads a byte at a time keep nobody waiting, and are
// served themselves in the end. USHER_TEST_SLOW is how many, USHER_TEST_REQUESTS how
// many others there are beside each byte.
func TestSlowConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes many connections")
	}
	n, beside := size(t, "USHER_TEST_SLOW", 500), size(t, "USHER_TEST_REQUESTS", 50)
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{HeaderTimeout: time.Hour}}, Services: proxytest.Origins(origin.Addr),
	})
	u.Proxy.Limit(config.Limits{MaxConnections: 2*n + 100})
	before, _ := resident()
	slow := make([]*proxytest.Client, n)
	for i := range slow {
		slow[i] = u.Dial()
		_ = slow[i].SetDeadline(time.Time{})
	}
	begin := time.Now()
	fast := u.Dial()
	_ = fast.SetDeadline(time.Time{})
	for _, b := range []byte(get + "\r") {
		for _, c := range slow {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		for range beside {
			fast.Send(get + "\r\n")
			fast.OK("GET", "ok")
		}
	}
	after, _ := resident()
	open := u.Metrics.Downstream.Listener("web").Open
	if got := open.Value(); got != int64(n)+1 {
		t.Errorf("%d connections are open, want %d", got, n+1)
	}
	t.Logf("%d slow connections, %d requests beside them in %v, %.1f KiB for each connection (both ends)",
		n, beside*(len(get)+1), time.Since(begin).Round(time.Millisecond),
		(float64(after)-float64(before))/1024/float64(n))
	for _, c := range slow {
		c.Send("\n")
		c.OK("GET", "ok")
	}
	u.Quiet()
}

// The whole corpus three times over, and then mutated: the same process serves as
// before, nothing odd has reached the endpoint, and no memory and no goroutine stays.
// USHER_TEST_MUTATIONS is how many mutations there are.
func TestHostileCorpus(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes many connections")
	}
	cases := corpus(t)
	r := newRecorder(t)
	u := proxytest.Start(t, proxytest.Options{
		// A head that was cut ends with this time.
		Listeners: []config.Listener{{HeaderTimeout: 50 * time.Millisecond}}, Services: proxytest.Origins(r.Addr),
	})
	attack := func(mutations int, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1))
		for range 3 {
			for i := range cases {
				throw(t, u, cases[i].send)
			}
		}
		for range mutations {
			throw(t, u, mutate(random, cases))
		}
		u.Quiet()
		r.check(t)
	}
	attack(100, 1) // what is made once is made now
	heap, goroutines := resident()
	attack(size(t, "USHER_TEST_MUTATIONS", 2000), 2)
	var heapNow uint64
	var goroutinesNow int
	proxytest.Eventually(t, "memory and goroutines are back", func() bool {
		heapNow, goroutinesNow = resident()
		return heapNow <= heap+heap/10 && goroutinesNow <= goroutines+max(2, goroutines/10)
	})
	t.Logf("heap %d KiB, then %d; %d goroutines, then %d", heap>>10, heapNow>>10, goroutines, goroutinesNow)
	c := u.Dial()
	for range 100 {
		if got := c.Get("/"); got.StatusCode != 200 || got.Text != "ok" {
			t.Fatalf("got %d %q", got.StatusCode, got.Text)
		}
	}
	if n := u.Counter("usher_request_errors_total", map[string]string{"reason": "internal_error"}); n != 0 {
		t.Errorf("%v faults", n)
	}
}

// throw sends bytes on a connection of their own, takes what comes, and leaves.
func throw(t *testing.T, u *proxytest.Usher, s string) {
	t.Helper()
	nc, err := net.Dial("tcp", u.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
	_, _ = io.WriteString(nc, s) // it may be refused half-way
	_ = nc.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q is neither answered nor refused", s)
	}
}

// check fails the test for what the endpoint should not have received. A request that
// was mutated may well be a good one, of any method: only its form counts.
func (r *recorder) check(t *testing.T) {
	t.Helper()
	seen, _ := r.take(t, 0)
	for _, s := range seen {
		if strings.HasPrefix(s, "an odd") || strings.Contains(s, " bytes behind ") {
			t.Errorf("the endpoint received %s", s)
		}
	}
}

// odd is what mutate inserts.
var odd = []string{
	"\r\n", "\n", "\r", "\x00", " ", "\t", ":", ",", ";", "0\r\n\r\n", "chunked", "Content-Length: 1\r\n",
}

// mutate returns one of the cases, changed in a few places.
func mutate(random *rand.Rand, cases []hostile) string {
	b := []byte(cases[random.IntN(len(cases))].send)
	for range 1 + random.IntN(4) {
		if len(b) == 0 {
			return "\r\n"
		}
		i := random.IntN(len(b))
		j := min(len(b), i+1+random.IntN(8))
		switch random.IntN(5) {
		case 0:
			b[i] = byte(random.IntN(256))
		case 1:
			b = append(b[:i:i], b[j:]...)
		case 2:
			b = append(b[:j:j], b[i:]...)
		case 3:
			b = append(b[:i:i], append([]byte(odd[random.IntN(len(odd))]), b[i:]...)...)
		default:
			other := cases[random.IntN(len(cases))].send
			b = append(b[:i:i], other[min(i, len(other)):]...)
		}
	}
	return string(b)
}
