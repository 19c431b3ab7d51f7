package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher/deploy/bench/internal/programs"
)

// fullCommand is the first argument of the process that makes full handshakes.
const fullCommand = "full"

// tally is what that process prints.
type tally struct {
	Requests, Errors int
	P50, P99         float64 // milliseconds
	Seconds          float64
	Fault            string `json:",omitempty"` // one of the errors
}

// full asks each time on a new connection with a full handshake: wrk would resume.
func full(ctx context.Context, b *bench, l load, addr string, d time.Duration) (sample, error) {
	self, err := os.Executable()
	if err != nil {
		return sample{}, fmt.Errorf("find this program: %w", err)
	}
	cmd := programs.Command(ctx, b.loadCore, self, fullCommand, b.dir, addr, l.path, strconv.Itoa(b.conns), d.String())
	cmd.Stderr = b.progress
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("full handshakes: %w", err)
	}
	return parseTally(out)
}

func parseTally(text []byte) (sample, error) {
	var t tally
	if err := json.Unmarshal(text, &t); err != nil {
		return sample{}, fmt.Errorf("full handshakes: %w", err)
	}
	if t.Requests <= 0 || t.Seconds <= 0 {
		return sample{}, fmt.Errorf("full handshakes: no request was answered: %s", t.Fault)
	}
	return sample{
		requests: t.Requests, errors: t.Errors, rps: float64(t.Requests) / t.Seconds, p50: t.P50, p99: t.P99,
	}, nil
}

// loadFull makes the handshakes: its arguments are the folder of the certificate, an
// address, a path, how many at a time, and for how long. It prints a tally.
func loadFull(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 5 {
		return errors.New("five arguments are needed")
	}
	pool, err := programs.Pool(args[0])
	if err != nil {
		return err
	}
	n, err1 := strconv.Atoi(args[3])
	d, err2 := time.ParseDuration(args[4])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s := &shaker{addr: args[1], config: clientConfig(pool), request: fmt.Appendf(nil,
		"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", args[2], host)}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	begun := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
	s.tally.Seconds = time.Since(begun).Seconds()
	s.tally.P50, s.tally.P99 = percentiles(s.took)
	return json.NewEncoder(stdout).Encode(s.tally)
}

// clientConfig resumes nothing. It offers one curve, so that no server is asked for a
// key exchange that the others do not know.
func clientConfig(pool *x509.CertPool) *tls.Config {
	return &tls.Config{
		RootCAs: pool, ServerName: host, SessionTicketsDisabled: true,
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
}

// shaker makes connections of one request each.
type shaker struct {
	addr    string
	config  *tls.Config
	request []byte

	mu    sync.Mutex
	tally tally
	took  []float64 // milliseconds
}

func (s *shaker) run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.once(ctx)
		took := float64(time.Since(begun)) / float64(time.Millisecond)
		// Deadlines on the way are over a little earlier than the context is.
		if end, _ := ctx.Deadline(); ctx.Err() != nil || !time.Now().Before(end) {
			return // it was cut short
		}
		s.mu.Lock()
		if s.tally.Requests++; err != nil {
			s.tally.Errors++
			s.tally.Fault = err.Error()
		}
		s.took = append(s.took, took)
		s.mu.Unlock()
	}
}

func (s *shaker) once(ctx context.Context) error {
	d := tls.Dialer{Config: s.config}
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if _, err := c.Write(s.request); err != nil {
		return err
	}
	text, err := io.ReadAll(c)
	// The peer may end without a word of TLS.
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
		return fmt.Errorf("answer of %d bytes: %w", len(text), err)
	}
	if c.(*tls.Conn).ConnectionState().DidResume {
		return errors.New("the session was resumed")
	}
	return nil
}
