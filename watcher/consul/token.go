package consul

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenEvery is how often, at most, it is looked whether the token's file changed.
const tokenEvery = time.Second

// maxToken bounds a token, in bytes.
const maxToken = 4 << 10

// authorized sends each request with the token of the moment. It is an
// http.RoundTripper, for any goroutine.
type authorized struct {
	next  http.RoundTripper
	token *token
}

// RoundTrip implements http.RoundTripper.
func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context()) // the caller's is not ours to change
	req.Header.Del(tokenHeader)
	if value := a.token.get(); value != "" {
		req.Header.Set(tokenHeader, value)
	}
	return a.next.RoundTrip(req)
}

const tokenHeader = "X-Consul-Token"

// token is an ACL token that may come from a file and change with it. Any goroutine
// may use it.
type token struct {
	// file is where it is read; empty: nowhere, it never changes.
	file string
	log  *slog.Logger

	mu    sync.Mutex
	value string
	// seen is the file as it was read last, nil when it could not be; looked is when it
	// was looked at.
	seen   os.FileInfo
	looked time.Time
	// failed says that the last reading failed, and that this was logged.
	failed bool
}

// newToken returns a token with this value until its file, if it has one, says
// otherwise.
func newToken(value, file string, log *slog.Logger) *token {
	return &token{value: value, file: file, log: log}
}

// get is the token of the moment. It may read the file, which is short.
func (t *token) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != "" && (t.looked.IsZero() || time.Since(t.looked) >= tokenEvery) {
		t.look()
		t.looked = time.Now()
	}
	return t.value
}

// look reads the file when it is another one than before. A file that cannot be read,
// because it is being replaced, perhaps, leaves the token as it is.
func (t *token) look() {
	now, err := os.Stat(t.file)
	if err == nil && t.seen != nil && sameFile(t.seen, now) {
		return
	}
	var value string
	if err == nil {
		value, err = readToken(t.file, now)
	}
	if err != nil {
		if !t.failed {
			t.log.Warn("the file of the consul token cannot be read; the last token stays", "err", err)
		}
		t.failed, t.seen = true, nil
		return
	}
	if t.failed {
		t.log.Info("the file of the consul token can be read again", "file", t.file)
	}
	t.value, t.seen, t.failed = value, now, false
}

// sameFile says whether a file has not been written or replaced.
func sameFile(a, b os.FileInfo) bool {
	return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}

// readToken reads the token in a file that looks like info.
func readToken(path string, info os.FileInfo) (string, error) {
	if !info.Mode().IsRegular() || info.Size() > maxToken {
		return "", fmt.Errorf("%s: not a file of at most %d bytes", path, maxToken)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	value, err := parseToken(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return value, nil
}

// parseToken takes a token from the content of its file: what stands between the
// spaces around it. The error does not show it.
func parseToken(data []byte) (string, error) {
	if len(data) > maxToken {
		return "", fmt.Errorf("longer than %d bytes", maxToken)
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		return "", errors.New("empty")
	}
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			return "", fmt.Errorf("byte %d is not part of a token", i+1)
		}
	}
	return value, nil
}
