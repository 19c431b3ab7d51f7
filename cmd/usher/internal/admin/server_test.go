package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/cmd/usher/internal/events"
)

// overSocket is a client of a socket in a file.
func overSocket(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// status asks over a socket; 0: nobody is there.
func status(c *http.Client, url string) int {
	resp, err := c.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A socket in a file is for its owner and group, asks for the token, and needs no name.
func TestSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	h := newHouse()
	s := h.start(t, "unix://"+path, &events.Log{})
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	c := overSocket(path)
	if code := status(c, "http://whatever.example.com/api/v1/routes"); code != http.StatusOK {
		t.Errorf("routes: %d", code)
	}
	s.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
	h.access.Token = secret
	s = h.start(t, "unix://"+path, &events.Log{})
	if code := status(c, "http://localhost/api/v1/routes"); code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", code)
	}
	s.Close()
}

// What a killed process left is taken away, and nothing else is.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	other := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	defer other.Close()
	err = other.Listen(t.Context(), "unix://"+path)
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("beside one that listens: %v", err)
	}
	left.Close()
	if err := other.Listen(t.Context(), "unix://"+path); err != nil {
		t.Errorf("after one that was killed: %v", err)
	}
	if code := status(overSocket(path), "http://x/"); code != http.StatusNotFound {
		t.Errorf("asked: %d", code)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{plain, link, dir} {
		if err := other.Listen(t.Context(), "unix://"+taken); err == nil {
			t.Errorf("%s was taken", taken)
		}
	}
	if text, err := os.ReadFile(plain); string(text) != "precious" {
		t.Errorf("the file holds %q: %v", text, err)
	}
	if code := status(overSocket(path), "http://x/"); code != http.StatusNotFound {
		t.Errorf("after vain changes: %d", code)
	}
}

// The answer under way when the address changes is not cut: it may be that of the reload
// which changed it.
func TestAddressChange(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}), make(chan struct{})
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(asked)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}), slog.New(slog.DiscardHandler))
	defer s.Close()
	dir := t.TempDir()
	first, second := "unix://"+filepath.Join(dir, "a"), "unix://"+filepath.Join(dir, "b")
	if err := s.Listen(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	slow := make(chan int)
	go func() { slow <- status(overSocket(filepath.Join(dir, "a")), "http://x/slow") }()
	<-asked
	for range 3 { // to and fro, without a pause
		for _, address := range []string{second, first} {
			if err := s.Listen(t.Context(), address); err != nil {
				t.Fatal(err)
			}
			path := strings.TrimPrefix(address, "unix://")
			if code := status(overSocket(path), "http://x/"); code != http.StatusOK {
				t.Errorf("%s: %d", address, code)
			}
		}
	}
	if code := status(overSocket(filepath.Join(dir, "b")), "http://x/"); code != 0 {
		t.Errorf("the address before answers %d", code)
	}
	close(release)
	if code := <-slow; code != http.StatusOK {
		t.Errorf("the answer under way: %d", code)
	}
	if err := s.Listen(t.Context(), ""); err != nil || s.Address() != nil {
		t.Errorf("nowhere: %v %v", err, s.Address())
	}
}
