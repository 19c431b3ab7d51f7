package certs_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/certs"
)

const patience = 10 * time.Second

// scene is a Manager and what it says, in a folder of its own.
type scene struct {
	*certs.Manager
	t       testing.TB
	dir     string
	metrics *metrics.TLS
	log     *journal
}

// journal is a log to look into.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), s)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func begin(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), metrics: metrics.NewTLS(), log: &journal{}}
	s.Manager = certs.New(certs.Options{
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Metrics: s.metrics,
		Poll: 200 * time.Millisecond,
	})
	t.Cleanup(s.Close)
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

// write puts a file in its place at once, as a careful writer does.
func (s *scene) write(name string, data []byte) {
	s.t.Helper()
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		s.t.Fatal(err)
	}
}

// pair writes a certificate as name.crt and name.key.
func (s *scene) pair(name string, i issued) {
	s.t.Helper()
	s.write(name+".crt", i.cert)
	s.write(name+".key", i.key)
}

// apply makes a listener called web of the settings.
func (s *scene) apply(t config.ListenerTLS) {
	s.t.Helper()
	s.Apply([]config.Listener{{Name: "web", Protocol: "https", TLS: t}}, certs.KV{})
}

// folder is a listener with one folder.
func (s *scene) folder() config.ListenerTLS {
	return config.ListenerTLS{CertificateDirs: []string{s.dir}}
}

// serve serves a configuration: each connection is read to its first bytes and answered
// with ok. It returns the address, and the errors of failed handshakes.
func serve(t testing.TB, conf *tls.Config) (address string, failed <-chan error) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 100)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if err := answer(tls.Server(c, conf)); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return ln.Addr().String(), errs
}

func answer(c *tls.Conn) error {
	if err := c.Handshake(); err != nil {
		return err
	}
	var b [16]byte
	if _, err := c.Read(b[:]); err != nil {
		return nil //nolint:nilerr // the handshake is what counts
	}
	_, _ = c.Write([]byte("ok"))
	_ = c.Close()
	return nil
}

// dial connects, asks, and returns the state of the connection.
func dial(address string, conf *tls.Config) (tls.ConnectionState, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(c, conf)
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return tls.ConnectionState{}, err
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "ok" {
		return tls.ConnectionState{}, errors.Join(errors.New("no answer: "+string(got)), err)
	}
	return conn.ConnectionState(), nil
}

// subject says which certificate a client is shown that asks for a name; the error when
// there is none.
func subject(address, name string, conf *tls.Config) string {
	if conf == nil {
		conf = &tls.Config{}
	}
	conf = conf.Clone()
	conf.ServerName, conf.InsecureSkipVerify = name, true
	state, err := dial(address, conf)
	if err != nil {
		return "error: " + err.Error()
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !f(); <-tick.C {
		if time.Since(start) > patience {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// speak sends a text without TLS, and leaves once there was an answer or none.
func speak(address, text string) error {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if text == "" {
		return nil
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, c)
	return nil
}
