package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unixScheme begins an address that is the path of a socket.
const unixScheme = "unix://"

// socketMode lets the owner and the group of a socket use it, and nobody else.
const socketMode = 0o660

// answerTime is how long answers under way have to end when the address changes: one of
// them may be that of the reload which changed it.
const answerTime = 5 * time.Second

// Server serves a handler on an address that may change. Its methods may be called
// from any goroutine.
type Server struct {
	handler http.Handler
	log     *slog.Logger

	mu      sync.Mutex
	address string
	running *running
	// all counts the goroutines of all that ever ran. handling is held for reading while a
	// request is answered: those goroutines are net/http's.
	all      sync.WaitGroup
	handling sync.RWMutex
}

// running is a server with one address.
type running struct {
	http   *http.Server
	socket net.Listener
	// closing is closed when answers that have no end are to end.
	closing chan struct{}
}

// NewServer returns a Server that does not listen yet. What net/http complains of goes to
// log.
func NewServer(h http.Handler, log *slog.Logger) *Server { return &Server{handler: h, log: log} }

// Listen makes the server listen on address, and no longer on another one; empty
// is nowhere. On an error nothing has changed.
func (s *Server) Listen(ctx context.Context, address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address == s.address {
		return nil
	}
	if address == "" {
		s.retire()
		return nil
	}
	ln, err := listen(ctx, address)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	s.retire()
	r := &running{socket: ln, closing: make(chan struct{})}
	r.http = &http.Server{
		Handler: s.counted(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), closingKey{}, r.closing)
		},
	}
	s.address, s.running = address, r
	s.all.Go(func() {
		if err := r.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			panic(err) // an accept loop that net/http gave up on
		}
	})
	return nil
}

// counted is the handler with its calls waited for at the end.
func (s *Server) counted() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handling.RLock()
		defer s.handling.RUnlock()
		s.handler.ServeHTTP(w, r)
	})
}

type closingKey struct{}

// closing returns a channel that is closed when an answer without an end is to end; nil:
// never.
func closing(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(closingKey{}).(chan struct{})
	return c
}

// Address is where the server listens, nil for nowhere.
func (s *Server) Address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	return s.running.socket.Addr()
}

// retire ends the running server and lets the answers under way end. The caller holds s.mu.
func (s *Server) retire() {
	r := s.running
	if r == nil {
		return
	}
	s.address, s.running = "", nil
	close(r.closing)
	_ = r.socket.Close() // at once: its address, or its path, may be wanted again
	s.all.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		defer cancel()
		if r.http.Shutdown(ctx) != nil {
			_ = r.http.Close() // whatever is left is cut
		}
	})
}

// Close stops listening, cuts what runs and waits.
func (s *Server) Close() {
	s.mu.Lock()
	r := s.running
	s.address, s.running = "", nil
	s.mu.Unlock()
	if r != nil {
		close(r.closing)
		_ = r.http.Close() // idle keep-alive connections of scrapers
	}
	s.all.Wait()
	s.handling.Lock()
	s.handling.Unlock() //nolint:staticcheck // what is answered has been, once it is to be had
}

// listen opens the socket of an address.
func listen(ctx context.Context, address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixScheme)
	if !isUnix {
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// The socket is made with the mode of its descriptor, less the umask: at no moment can
	// others than those it is for connect to it.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, failed)
	}}
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// removeStale takes a socket away that nobody listens on: a process that was killed left it.
// Anything else at its path stays, and is an error.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there already and is no socket", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is there already: %w", path, err)
	}
	return os.Remove(path)
}
