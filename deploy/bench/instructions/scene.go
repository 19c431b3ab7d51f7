//go:build linux && amd64

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// services is how many are in the table; each has three instances.
const services = 1000

const (
	request  = "GET /index.html HTTP/1.1\r\nHost: s500.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
	response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
)

// scene is one usher between a client and an origin, which are this process. Both send
// only while usher waits for the network, so that it meets the same every time.
type scene struct {
	cmd     *exec.Cmd
	said    bytes.Buffer
	request string
	origins []net.Listener
	client  net.Conn
	reader  *bufio.Reader
	// stepper is set once usher is executed step by step.
	stepper atomic.Pointer[stepper]
	// serving are the origin's goroutines, cancel ends what they wait for.
	serving sync.WaitGroup
	cancel  context.CancelFunc
}

// open starts the origin and usher, with these defaults for its services and with more of
// an environment. Close it.
func open(ctx context.Context, usher, dir, defaults string, env []string) (*scene, error) {
	s := &scene{request: request}
	ctx, s.cancel = context.WithCancel(ctx)
	var lc net.ListenConfig
	for range 5 { // three to serve, two for their ports
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, fmt.Errorf("listen: %w", err)
		}
		s.origins = append(s.origins, l)
	}
	listen, admin := s.origins[3].Addr().String(), s.origins[4].Addr().String()
	_, _ = s.origins[3].Close(), s.origins[4].Close() // they come free for usher
	s.origins = s.origins[:3]
	for _, l := range s.origins {
		s.serving.Go(func() { s.accept(ctx, l) })
	}
	err := errors.Join(s.configure(dir, listen, admin, defaults), s.start(ctx, usher, dir, env))
	if err == nil {
		err = s.connect(ctx, listen)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// configure writes what usher reads.
func (s *scene) configure(dir, listen, admin, defaults string) error {
	var list strings.Builder
	list.WriteString("services:\n")
	for i := range services {
		fmt.Fprintf(&list, "  - name: s%d\n    routes: [\"s%d.example.com/\"]\n    instances:\n", i, i)
		for _, l := range s.origins {
			fmt.Fprintf(&list, "      - {address: %q}\n", l.Addr())
		}
	}
	text := fmt.Sprintf("listeners: [{name: web, address: %q}]\nadmin: {address: %q}\n"+
		"log: {level: warn, format: text}\nregistries: [{type: file, path: services.yaml}]\ndefaults: %s\n",
		listen, admin, defaults)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "services.yaml"), []byte(list.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "usher.yaml"), []byte(text), 0o600),
	)
}

// start starts usher so that what it does is the same every time: one processor, no
// collection, no goroutine interrupted.
func (s *scene) start(ctx context.Context, usher, dir string, env []string) error {
	s.cmd = exec.CommandContext(ctx, usher, "run", "--config", filepath.Join(dir, "usher.yaml"))
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=off", "GODEBUG=asyncpreemptoff=1")
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start usher: %w", err)
	}
	return nil
}

// connect waits until usher serves, on the connection that is used from then on.
func (s *scene) connect(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			s.client, s.reader = c, bufio.NewReader(c)
			if err = s.ask(); err == nil {
				return nil
			}
			_ = c.Close() // another one follows
			s.client = nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("usher does not serve: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// ask makes a request.
func (s *scene) ask() error {
	if _, err := io.WriteString(s.client, s.request); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	status, err := s.reader.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200"))
	if err := skipHead(s.reader); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !ok {
		return errors.New("the answer is not 200")
	}
	_, err = s.reader.Discard(100)
	return err
}

// skipHead reads a head to its end, the blank line.
func skipHead(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
	}
}

// accept serves the connections of one origin until its listener is closed.
func (s *scene) accept(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() { s.answer(ctx, c) })
	}
}

// answer answers the requests of a connection, which ends with usher.
func (s *scene) answer(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }() // nobody waits for more
	r := bufio.NewReader(c)
	body := append([]byte(response), bytes.Repeat([]byte("x"), 100)...)
	for skipHead(r) == nil {
		if st := s.stepper.Load(); st != nil {
			if _, err := st.waitIdle(ctx); err != nil {
				return
			}
		}
		if _, err := c.Write(body); err != nil {
			return
		}
	}
}

// close ends usher, and with it the connections.
func (s *scene) close() {
	s.cancel()
	if s.client != nil {
		_ = s.client.Close() // all answers are read
	}
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it has nothing to lose
		_ = s.cmd.Wait()         // the stepper may have seen its end first
	}
	for _, l := range s.origins {
		_ = l.Close() // nothing is accepted any more
	}
	s.serving.Wait()
}

// measure counts the instructions of n requests.
func (s *scene) measure(ctx context.Context, p *program, n int) (run, error) {
	for range 2000 { // pools are full then, and everything is in memory
		if err := s.ask(); err != nil {
			return run{}, err
		}
	}
	st := newStepper(s.cmd.Process.Pid, p)
	attached, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		ended <- st.run(attached)
	}()
	select {
	case err := <-ended:
		return run{}, err
	case <-attached:
	}
	each, err := s.count(ctx, st, n)
	_ = s.cmd.Process.Kill() // this is what ends the stepper
	if err = errors.Join(<-ended, err); err != nil {
		return run{}, err
	}
	return st.result(each), nil
}

// count asks step by step; the first requests are not counted, for they wait on what the
// attaching has woken.
func (s *scene) count(ctx context.Context, st *stepper, n int) ([]int64, error) {
	const settling = 8
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*time.Second)
	defer cancel()
	s.stepper.Store(st)
	stop := context.AfterFunc(ctx, func() { _ = s.client.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var each []int64
	var before int64
	for i := range settling + n + 1 {
		now, err := st.waitIdle(ctx)
		if err != nil {
			return nil, err
		}
		if i > settling {
			each = append(each, now-before)
		}
		before = now
		st.counting.Store(i >= settling && i < settling+n)
		if i == settling+n {
			break
		}
		if err := s.ask(); err != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
	return each, nil
}
