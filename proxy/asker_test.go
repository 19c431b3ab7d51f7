package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"usher/proxy/proxytest"
)

// asker is a client that keeps its connection while it can.
type asker struct {
	t  *testing.T
	u  *proxytest.Usher
	at string
	c  *proxytest.Client
}

// heard is what a client gets for a request. err is what cut it.
type heard struct {
	// interim counts the 103s.
	status, interim int
	reason, text    string
	err             error
}

// String implements fmt.Stringer.
func (h heard) String() string {
	return fmt.Sprintf("%d %s %.100q (%v)", h.status, h.reason, h.text, h.err)
}

func newAsker(t *testing.T, u *proxytest.Usher) *asker {
	t.Helper()
	return &asker{t: t, u: u, at: u.Addr()}
}

// connected makes sure of a connection. Any goroutine may call it.
func (a *asker) connected() error {
	if a.c != nil {
		return nil
	}
	c, err := proxytest.TryDial(a.t, a.at)
	a.c = c
	return err
}

// leave closes the connection.
func (a *asker) leave() {
	if a.c != nil {
		a.c.Close()
		a.c = nil
	}
}

// ask sends a request and reads its answer. A connection that is to end must do so, and
// says nothing more.
func (a *asker) ask(method, request string) heard {
	if err := a.connected(); err != nil {
		return heard{err: err}
	}
	_, _ = io.WriteString(a.c.TCPConn, request) // an answer may come before it is taken
	return a.hear(method)
}

// hear reads an answer.
func (a *asker) hear(method string) (h heard) {
	r, err := a.c.TryBegin(method)
	for err == nil && r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
		if r.StatusCode == http.StatusEarlyHints {
			h.interim++
		}
		r, err = a.c.TryBegin(method)
	}
	if err != nil {
		a.leave()
		h.err = err
		return h
	}
	var body io.Reader = r.Body
	if r.StatusCode == http.StatusSwitchingProtocols {
		body = a.c.R
	}
	b, err := io.ReadAll(body)
	h.status, h.reason, h.text, h.err = r.StatusCode, r.Header.Get("X-Usher-Reason"), string(b), err
	if err == nil && !r.Close && r.StatusCode != http.StatusSwitchingProtocols {
		return h
	}
	_ = a.c.CloseWrite()
	if more, _ := io.ReadAll(a.c.R); len(more) > 0 {
		h.err = errors.Join(err, fmt.Errorf("then %q", more))
	}
	a.leave()
	return h
}
