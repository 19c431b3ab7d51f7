package accesslog

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
)

// receiver is a receiver of syslog, as RFC 5424 and RFC 6587 have it: a double that the
// test asks what it was sent.
type receiver struct {
	mu       sync.Mutex
	messages []string
	// failed is what it could not read.
	failed error
}

func (r *receiver) take(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, message)
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.messages)
}

// entries are the messages without their heads, which are checked.
func (r *receiver) entries(t *testing.T, facility int) (lines []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		t.Error(r.failed)
	}
	head := regexp.MustCompile(`^<(\d+)>1 (\S+) (\S+) edge (\d+) access - (.*)$`)
	for _, m := range r.messages {
		p := head.FindStringSubmatch(m)
		if p == nil {
			t.Fatalf("not RFC 5424: %q", m)
		}
		if p[1] != strconv.Itoa(facility*8+6) || p[4] != strconv.Itoa(os.Getpid()) {
			t.Fatalf("priority or process: %q", m)
		}
		if at, err := time.Parse(time.RFC3339Nano, p[2]); err != nil || time.Since(at).Abs() > time.Minute {
			t.Fatalf("time: %q", m)
		}
		lines = append(lines, p[5])
	}
	return lines
}

// datagrams receives messages, one each.
func (r *receiver) datagrams(t *testing.T, c net.PacketConn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			r.take(string(b[:n]))
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// stream receives messages with their lengths in front, or without: lines.
func (r *receiver) stream(c net.Conn, counted bool) {
	defer c.Close()
	b := bufio.NewReader(c)
	for {
		message, err := frame(b, counted)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.mu.Lock()
			r.failed = err
			r.mu.Unlock()
			return
		}
		r.take(message)
	}
}

func frame(b *bufio.Reader, counted bool) (string, error) {
	if !counted {
		line, err := b.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err
	}
	length, err := b.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil {
		return "", err
	}
	message := make([]byte, n)
	_, err = io.ReadFull(b, message)
	return string(message), err
}

// listen accepts connections until the test ends, each served in a goroutine.
func listen(t *testing.T, network, address string, serve func(net.Conn)) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln
}

func TestSyslogUDP(t *testing.T) {
	t.Parallel()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	r.datagrams(t, c)
	s := begin(t, "syslog+udp://"+c.LocalAddr().String()+"?facility=local0&tag=edge", nil)
	const n = 50 // few enough that none is lost on the way
	s.load(1, n)
	wait(t, "all messages", func() bool { return r.count() == n })
	mustHaveAll(t, r.entries(t, 16), 1, n)
}

func TestSyslogUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	r.datagrams(t, c)
	s := begin(t, "syslog+unix://"+path+"?tag=edge", nil)
	s.load(2, 500)
	s.end()
	wait(t, "all messages", func() bool { return r.count() == 1000 })
	mustHaveAll(t, r.entries(t, 23), 2, 500)
}

func TestSyslogUnixStream(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	r := &receiver{}
	listen(t, "unix", path, func(c net.Conn) { r.stream(c, false) })
	s := begin(t, "syslog+unix://"+path+"?tag=edge", nil)
	s.load(2, 500)
	s.end()
	wait(t, "all messages", func() bool { return r.count() == 1000 })
	mustHaveAll(t, r.entries(t, 23), 2, 500)
}

// A receiver over TCP that goes away and comes back gets whole messages, and none is lost
// that was not on the way when it left.
func TestSyslogTCP(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	var mu sync.Mutex
	var conns []net.Conn
	ln := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		r.stream(c, true)
	})
	s := begin(t, "syslog+tcp://"+ln.Addr().String()+"?facility=user&tag=edge", nil)
	const n = 200
	s.load(2, n)
	wait(t, "all messages", func() bool { return r.count() == 2*n })
	mu.Lock()
	first := slices.Clone(conns)
	mu.Unlock()
	for _, c := range first {
		_ = c.(*net.TCPConn).CloseWrite() // as a server does that ends in order
	}
	s.load(2, n)
	wait(t, "all messages again", func() bool { return r.count() >= 4*n })
	lines := r.entries(t, 1)
	if seen := whole(t, lines); len(lines) != 4*n || len(seen) != 2*n {
		t.Errorf("%d lines of %d entries", len(lines), len(seen))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(conns) < 2 {
		t.Error("it has not connected again")
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// A receiver that reads nothing holds nobody up; when it reads again messages go on where
// they stopped.
func TestSyslogTCPStuck(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	reads := make(chan struct{})
	ln := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		<-reads
		r.stream(c, true)
	})
	s := begin(t, "syslog+tcp://"+ln.Addr().String()+"?tag=edge", func(c *config.AccessLog) {
		c.BufferSize = 256 << 10
	})
	read := sync.OnceFunc(func() { close(reads) })
	t.Cleanup(read)
	n := 0
	wait(t, "it is told", func() bool { // once what the kernel and the log hold is full
		s.load(4, 200)
		n += 800
		return strings.Contains(s.told.String(), errStuck.Error())
	})
	before := s.dropped.Value()
	s.load(4, 1000)
	n += 4000
	if s.dropped.Value() == before {
		t.Error("nothing dropped")
	}
	read()
	s.end()
	wait(t, "all that was not dropped", func() bool { return r.count()+int(s.dropped.Value()) == n })
	whole(t, r.entries(t, 23))
}

// A receiver that is not there is waited for.
func TestSyslogLate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	s := begin(t, "syslog+unix://"+path+"?tag=edge", nil)
	s.load(1, 10)
	wait(t, "it is told", func() bool { return strings.Contains(s.told.String(), "cannot be written") })
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	r.datagrams(t, c)
	wait(t, "all messages", func() bool { return r.count() == 10 })
	mustHaveAll(t, r.entries(t, 23), 1, 10)
	wait(t, "it is told of the end", func() bool { return strings.Contains(s.told.String(), "written again") })
}
