package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usher/proxy/proxytest"
)

// hostile is a case of testdata/corpus; its README tells what the parts mean.
type hostile struct {
	name, send string
	// statuses are those of the answers, in order.
	statuses []int
	// upstream are the requests that reach the endpoint, in order.
	upstream   []string
	has, hasnt []string
}

// corpus reads testdata/corpus.
func corpus(t testing.TB) (all []hostile) {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		topic := strings.TrimSuffix(filepath.Base(file), ".txt")
		for i, line := range strings.Split(string(b), "\n") {
			if name, ok := strings.CutPrefix(line, "== "); ok {
				all = append(all, hostile{name: topic + ": " + name})
			} else if line != "" && line[0] != '#' {
				if err := all[len(all)-1].add(line); err != nil {
					t.Fatalf("%s:%d: %v", file, i+1, err)
				}
			}
		}
	}
	return all
}

// add takes a line of a case.
func (h *hostile) add(line string) error {
	mark, rest, _ := strings.Cut(line, " ")
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
	if err != nil {
		return err
	}
	switch mark {
	case ">":
		h.send += text
	case "<":
		if rest == "gone" {
			return nil
		}
		status, err := strconv.Atoi(rest)
		h.statuses = append(h.statuses, status)
		return err
	case "^":
		h.upstream = append(h.upstream, text)
	case "+":
		h.has = append(h.has, text)
	case "-":
		h.hasnt = append(h.hasnt, text)
	default:
		return fmt.Errorf("a line begins with %q", mark)
	}
	return nil
}

// recorder is an origin that notes what it receives as the corpus writes it down.
type recorder struct {
	*proxytest.Origin

	mu   sync.Mutex
	seen []string
	raw  strings.Builder
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{}
	r.Origin = proxytest.Raw(t, func(c *proxytest.Conn) {
		_ = c.SetDeadline(time.Time{})
		// The Origin's own reader would keep all that ever came.
		var raw bytes.Buffer
		br := bufio.NewReader(io.TeeReader(c.Conn, &raw))
		for r.serve(c, br, &raw) {
			raw.Reset()
		}
	})
	return r
}

// serve notes and answers one request, and says whether there may be another.
func (r *recorder) serve(c *proxytest.Conn, br *bufio.Reader, raw *bytes.Buffer) bool {
	req, err := http.ReadRequest(br)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(req.Body)
	}
	if err != nil {
		if raw.Len() > 0 {
			r.note("cut", raw.String())
		}
		return false
	}
	r.note(describe(req, string(body), raw.String(), br.Buffered()), raw.String())
	answer := proxytest.OK
	if req.Method == http.MethodHead {
		answer = strings.TrimSuffix(answer, "ok")
	}
	return c.Reply("%s", answer)
}

// describe writes a request down, or what makes it one that usher should not have
// sent. What usher has sent carries its mark, once: what was smuggled has none.
func describe(req *http.Request, body, raw string, behind int) string {
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	lower := strings.ToLower(head)
	framings := strings.Count(lower, "\r\ncontent-length:") + strings.Count(lower, "\r\ntransfer-encoding:")
	switch {
	case behind > 0:
		return fmt.Sprintf("%d bytes behind %q", behind, raw)
	case strings.Count(head, "\r\nCDN-Loop: usher-") != 1 || strings.Count(lower, "\r\nhost:") != 1 || framings > 1:
		return fmt.Sprintf("an odd head: %q", head)
	case strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n"):
		return fmt.Sprintf("an odd line end: %q", head)
	}
	_, target, _ := strings.Cut(head, " ")
	target, _, _ = strings.Cut(target, " ")
	s := req.Method + " " + target + " " + req.Host
	if body != "" {
		s += " " + body
	}
	return s
}

func (r *recorder) note(what, raw string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, what)
	r.raw.WriteString(raw)
}

// take returns what was noted since it was called last, waiting for n notes.
func (r *recorder) take(t testing.TB, n int) (seen []string, raw string) {
	t.Helper()
	proxytest.Eventually(t, fmt.Sprintf("%d requests at the endpoint", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.seen) >= n
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, raw = r.seen, r.raw.String()
	r.seen = nil
	r.raw.Reset()
	return seen, raw
}

// Each request of the corpus is refused, or goes on as one that cannot be read in two
// ways.
func TestCorpus(t *testing.T) {
	t.Parallel()
	cases := corpus(t)
	if len(cases) < 350 {
		t.Errorf("only %d cases", len(cases))
	}
	for _, how := range []string{"at once", "bytewise"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRecorder(t)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(r.Addr)})
			for _, h := range cases {
				t.Run(h.name, func(t *testing.T) { h.replay(t, u, r, how == "bytewise") })
			}
			u.Quiet()
			r.Close()
			if seen, _ := r.take(t, 0); len(seen) > 0 {
				t.Errorf("the endpoint received late: %q", seen)
			}
		})
	}
}

// replay sends one case and compares what comes of it.
func (h *hostile) replay(t *testing.T, u *proxytest.Usher, r *recorder, bytewise bool) {
	c := proxytest.Dial(t, u.Addr())
	if bytewise {
		sendBytewise(c, h.send)
	} else if _, err := io.WriteString(c, h.send); err != nil {
		t.Logf("send: %v", err)
	}
	h.answers(t, c)
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c.R); len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then %q (%v), want the end of the connection", b, err)
	}
	u.Quiet()
	seen, raw := r.take(t, len(h.upstream))
	if !slices.Equal(seen, h.upstream) {
		t.Errorf("the endpoint received %q, want %q", seen, h.upstream)
	}
	for _, has := range h.has {
		if !strings.Contains(raw, has) {
			t.Errorf("%q is missing in %q", has, raw)
		}
	}
	for _, not := range h.hasnt {
		if strings.Contains(strings.ToLower(raw), not) {
			t.Errorf("%q is in %q", not, raw)
		}
	}
}

// answers reads as many answers as are expected. The last one of a refused connection
// says that it closes.
func (h *hostile) answers(t *testing.T, c *proxytest.Client) {
	t.Helper()
	for i, want := range h.statuses {
		method := "GET"
		if i < len(h.upstream) {
			method, _, _ = strings.Cut(h.upstream[i], " ")
		}
		resp, err := c.TryBegin(method)
		for err == nil && resp.StatusCode == http.StatusContinue {
			resp, err = c.TryBegin(method)
		}
		if err != nil {
			t.Errorf("answer %d: %v, want %d", i+1, err, want)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("answer %d: %v", i+1, err)
		}
		if resp.StatusCode != want || want >= 400 && !resp.Close {
			t.Errorf("answer %d: got %d, close %v, want %d", i+1, resp.StatusCode, resp.Close, want)
		}
	}
}
