package main_test

import (
	"crypto/sha256"
	little "encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// stream is a reader of a size's bytes, no two blocks of which are equal.
type stream struct {
	block []byte
	at    int
	left  int64
	nth   uint64
}

func newStream(size int64) *stream {
	s := &stream{block: make([]byte, 1<<20), left: size}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(s.block)
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.at == 0 {
		s.nth++
		little.LittleEndian.PutUint64(s.block, s.nth)
	}
	n := copy(p[:min(int64(len(p)), s.left)], s.block[s.at:])
	s.at = (s.at + n) % len(s.block)
	s.left -= int64(n)
	return n, nil
}

// hashOf reads to the end and returns a hash of it.
func hashOf(r io.Reader) (string, int64, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// peak is the most memory that the process has had resident, in bytes.
func (u *usher) peak() int64 {
	u.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", u.cmd.Process.Pid))
	if err != nil {
		u.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		u.t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		u.t.Fatal(err)
	}
	return kib << 10
}

// bulky is an instance that answers a GET with a stream of the size asked for, and
// anything else with the hash of what it is sent.
func bulky(t *testing.T) *backend {
	t.Helper()
	return newBackend(t, "bulky", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		if r.Method == http.MethodGet {
			if r.URL.Path == "/length" {
				w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			}
			_, _ = io.CopyBuffer(struct{ io.Writer }{w}, newStream(size), make([]byte, 64<<10))
			return
		}
		hash, n, err := hashOf(r.Body)
		if err != nil || (r.ContentLength >= 0) != (r.URL.Path == "/length") {
			hash = fmt.Sprintf("%d bytes of %d, %v", n, r.ContentLength, err)
		}
		fmt.Fprint(w, hash)
	})
}

// A gibibyte goes through, up and down, as it is, and hardly any of it stays in memory on
// the way. Less is enough for chunks, which take the tests' own side longest.
func TestGibibyte(t *testing.T) {
	if testing.Short() {
		t.Skip("moves gibibytes")
	}
	const most = 64 << 20
	sizes := map[string]int64{"length": 1 << 30, "chunked": 128 << 20}
	total := sizes["length"] + sizes["chunked"]
	u := startWithFile(t, bulky(t), "")
	tr := &http.Transport{WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}
	t.Cleanup(tr.CloseIdleConnections)
	for framing, size := range sizes {
		want, _, _ := hashOf(newStream(size))
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			t.Run(method+" "+framing, func(t *testing.T) {
				begin := time.Now()
				got := u.move(t, tr, method, framing, size)
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if peak := u.peak(); peak > most {
					t.Errorf("%d MiB were resident", peak>>20)
				}
				t.Logf("in %v; at most %.1f MiB were resident", time.Since(begin).Round(time.Millisecond),
					float64(u.peak())/(1<<20))
			})
		}
	}
	if n := u.metric("usher_response_body_bytes_total"); n < float64(total) {
		t.Errorf("%.0f bytes of responses are counted", n)
	}
	if n := u.metric("usher_request_body_bytes_total"); n != float64(total) {
		t.Errorf("%.0f bytes of requests are counted", n)
	}
}

// move sends or gets a stream and returns the receiver's hash of it.
func (u *usher) move(t *testing.T, tr *http.Transport, method, framing string, size int64) string {
	t.Helper()
	var body io.Reader = http.NoBody
	if method == http.MethodPut {
		body = newStream(size)
	}
	url := fmt.Sprintf("%s/%s?size=%d", u.web, framing, size)
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "s.test"
	if method == http.MethodPut && framing == "length" {
		req.ContentLength = size
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if method == http.MethodPut {
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	if (resp.ContentLength >= 0) != (framing == "length") {
		t.Errorf("the length is %d", resp.ContentLength)
	}
	hash, n, err := hashOf(resp.Body)
	if err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	return hash
}
