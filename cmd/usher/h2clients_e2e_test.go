package main_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// resources is how many the page has.
const resources = 100

// page is a web page with its resources; it tells of what the browser has loaded, and how.
func page() string {
	var b strings.Builder
	b.WriteString("<!doctype html><title>page</title><body>")
	for i := range resources {
		fmt.Fprintf(&b, "<script src=/resource/%d.js></script>", i)
	}
	b.WriteString(`<script>onload = () => {
		const how = (kind) => [...new Set(performance.getEntriesByType(kind).map((e) => e.nextHopProtocol))]
		document.body.textContent = 'loaded ' + window.loaded + ' by ' + how('resource') + ' after ' + how('navigation')
	}</script>`)
	return b.String()
}

// site serves the page, its resources, and what it is sent.
func site(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/resource/"):
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprint(w, "window.loaded = (window.loaded || 0) + 1")
	case r.URL.Path == "/echo":
		_, _ = io.Copy(w, r.Body)
	default:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page())
	}
}

// runProgram runs a program to its end and returns what it has written to its standard output.
func runProgram(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var errs lockedBuffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", filepath.Base(name), err, out, errs.String())
	}
	return string(out)
}

// ofTheField lets clients of the field load the site from an address, over HTTP/2.
func ofTheField(t *testing.T, address string, c *credentials) {
	t.Helper()
	url := "https://" + address
	t.Run("curl", func(t *testing.T) { curl(t, url, c) })
	t.Run("h2load", func(t *testing.T) {
		out := runProgram(t, program(t, "h2load"), "-n", "5000", "-c", "8", "-m", "32", url+"/resource/1.js")
		want := "5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout"
		if !strings.Contains(out, want) || !strings.Contains(out, "5000 2xx") ||
			!strings.Contains(out, "Application protocol: h2") {
			t.Error(out)
		}
	})
	t.Run("browser", func(t *testing.T) {
		dom := runProgram(t, program(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu",
			"--disable-background-networking", "--disable-dev-shm-usage", "--ignore-certificate-errors",
			"--user-data-dir="+t.TempDir(), "--virtual-time-budget=60000", "--dump-dom", url+"/")
		want := fmt.Sprintf("loaded %d by h2 after h2", resources)
		if !strings.Contains(dom, want) {
			t.Errorf("no %q in\n%s", want, dom)
		}
	})
}

// curl downloads, and uploads a body that does not fit any window.
func curl(t *testing.T, url string, c *credentials) {
	t.Helper()
	base := []string{"-sS", "--fail", "--http2", "--cacert", c.ca, "-w", `\n%{http_version} %{http_code}`}
	out := runProgram(t, program(t, "curl"), append(base, url+"/")...)
	if want := page() + "\n2 200"; out != want {
		t.Errorf("got %q", out)
	}
	body := strings.Repeat("0123456789abcdef", 5<<20/16)
	sent, got := filepath.Join(t.TempDir(), "sent"), filepath.Join(t.TempDir(), "got")
	writeFile(t, sent, body)
	out = runProgram(t, program(t, "curl"), append(base, "--data-binary", "@"+sent, "-o", got, url+"/echo")...)
	b, err := os.ReadFile(got)
	if err != nil || strings.TrimSpace(out) != "2 200" || digest(b) != digest([]byte(body)) {
		t.Errorf("%s, %v, %d bytes back", out, err, len(b))
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// The clients load the site from Go's server.
func TestClientsThemselves(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(site))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	ofTheField(t, s.Listener.Addr().String(), c)
}

// They load it through usher.
func TestClients(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	b := newBackend(t, "site", site)
	e := startGateway(t, c, "services:\n"+serviceAt("site", "/", "", b.address()), "")
	ofTheField(t, e.secure, c)
}

// Every test of h2spec passes over TLS. Where HTTP/2 comes by prior knowledge, what is not
// its preface is HTTP/1.1, and answered as such: the test that wants the end at once fails.
func TestH2spec(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "origin", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "an answer that is longer than a window of a few bytes")
	})
	e := startGateway(t, newCredentials(t), "services:\n"+serviceAt("origin", "/", "", b.address()), "")
	t.Run("TLS", func(t *testing.T) { h2spec(t, e.secure, nil, "--tls", "--insecure") })
	t.Run("plaintext", func(t *testing.T) { h2spec(t, e.plain(), []string{"2: Sends invalid connection preface"}) })
}

// h2spec runs all tests; those that fail must be these.
func h2spec(t *testing.T, address string, fail []string, args ...string) {
	t.Helper()
	host, port, _ := strings.Cut(address, ":")
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	all := append([]string{"--host", host, "--port", port, "--timeout", "5"}, args...)
	out, err := exec.CommandContext(ctx, tool(t, "bin/h2spec"), all...).CombinedOutput()
	want := fmt.Sprintf("145 tests, %d passed, 0 skipped, %d failed", 145-len(fail), len(fail))
	_, failures, _ := strings.Cut(string(out), "Failures:")
	if !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range fail {
		if !strings.Contains(failures, "× "+name) {
			t.Errorf("%q does not fail:\n%s", name, failures)
		}
	}
}
