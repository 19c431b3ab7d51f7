package accesslog

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usher/config"
	"usher/metrics"
)

// syslog is an output that is a receiver of syslog messages (RFC 5424): over UDP or a Unix
// socket of datagrams one in each, over TCP with their length in front (RFC 6587 §3.4.1).
type syslog struct {
	network, address string
	// head is what is the same in each message: head[0] before its time, head[1] behind.
	head [2]string

	conn net.Conn
	// counts says that messages have their length in front, else they end with their line;
	// datagrams that each is one.
	counts, datagrams bool

	// framed are the messages under way and ends where each ends; sent is how much of them
	// is.
	framed []byte
	ends   []int
	sent   int
	// message is room for one.
	message []byte
	// dropped counts those that are too large for the receiver.
	dropped *metrics.Counter
}

// severity is informational.
const severity = 6

// newSyslog returns the output of a checked URL. It is connected to when there is something
// to write.
func newSyslog(o *Options) (*syslog, error) {
	u, err := url.Parse(o.Config.Output)
	if err != nil {
		return nil, err
	}
	s := &syslog{network: strings.TrimPrefix(u.Scheme, "syslog+"), address: u.Host, dropped: o.Dropped}
	if s.network == "unix" {
		s.address = u.Path
	}
	facility, tag := "local7", "usher"
	if f := u.Query().Get("facility"); f != "" {
		facility = f
	}
	if t := u.Query().Get("tag"); t != "" {
		tag = t
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	priority := slices.Index(config.SyslogFacilities(), facility)*8 + severity
	s.head[0] = "<" + strconv.Itoa(priority) + ">1 "
	s.head[1] = " " + host + " " + tag + " " + strconv.Itoa(os.Getpid()) + " access - "
	return s, nil
}

// dial connects.
func (s *syslog) dial() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var d net.Dialer
	s.counts, s.datagrams = s.network == "tcp", s.network == "udp"
	if s.network != "unix" {
		s.conn, err = d.DialContext(ctx, s.network, s.address)
		return err
	}
	if s.conn, err = d.DialContext(ctx, "unixgram", s.address); err == nil {
		s.datagrams = true
		return nil
	}
	s.conn, err = d.DialContext(ctx, "unix", s.address)
	return err
}

// write implements sink.
func (s *syslog) write(b []byte) (done int, err error) {
	if len(s.framed) > 0 && (s.conn == nil || s.left()) {
		return s.settle(b), nil // what did not go over one connection goes over the next
	}
	if s.conn != nil && s.left() {
		s.hangUp()
	}
	if s.conn == nil {
		if err := s.dial(); err != nil {
			s.conn = nil
			return 0, err
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	if s.datagrams {
		return s.send(b)
	}
	return s.stream(b)
}

// send sends a datagram for each line.
func (s *syslog) send(b []byte) (done int, err error) {
	stamp := stampOf(time.Now())
	for done < len(b) {
		end := done + bytes.IndexByte(b[done:], '\n')
		s.message = s.appendMessage(s.message[:0], stamp, b[done:end])
		_, err = s.conn.Write(s.message)
		switch {
		case errors.Is(err, syscall.EMSGSIZE):
			s.dropped.Add(0, 1)
		case err != nil:
			if done > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				return done, nil // it is slow, no more
			}
			return done, s.failed(err)
		}
		done = end + 1
	}
	return done, nil
}

// stream sends all lines as one piece.
func (s *syslog) stream(b []byte) (done int, err error) {
	if len(s.framed) == 0 {
		s.frame(b)
	}
	n, err := s.conn.Write(s.framed[s.sent:])
	s.sent += n
	switch {
	case s.sent == len(s.framed):
		return s.settle(b), nil
	case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
		return 0, nil // it is slow, no more
	default:
		if err = s.failed(err); s.conn != nil {
			return 0, err
		}
		return s.settle(b), err
	}
}

// frame makes messages of lines.
func (s *syslog) frame(b []byte) {
	stamp := stampOf(time.Now())
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		s.message = s.appendMessage(s.message[:0], stamp, b[:end])
		if s.counts {
			s.framed = append(strconv.AppendInt(s.framed, int64(len(s.message)), 10), ' ')
		}
		s.framed = append(s.framed, s.message...)
		if !s.counts {
			s.framed = append(s.framed, '\n')
		}
		s.ends = append(s.ends, len(s.framed))
		b = b[end+1:]
	}
}

// settle forgets the messages under way, and returns how much of the lines they are made of
// was sent whole.
func (s *syslog) settle(b []byte) (done int) {
	for _, end := range s.ends {
		if end > s.sent {
			break
		}
		done += bytes.IndexByte(b[done:], '\n') + 1
	}
	s.framed, s.ends, s.sent = s.framed[:0], s.ends[:0], 0
	return done
}

func (s *syslog) appendMessage(dst []byte, stamp string, line []byte) []byte {
	dst = append(append(append(dst, s.head[0]...), stamp...), s.head[1]...)
	return append(dst, line...)
}

func stampOf(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// failed takes note of an error: what is no wait ends the connection.
func (s *syslog) failed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errStuck
	}
	s.hangUp()
	return err
}

// left says whether the receiver has closed the connection: what is written after that is
// lost without an error.
func (s *syslog) left() (yes bool) {
	c, ok := s.conn.(syscall.Conn)
	if !ok || s.datagrams {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		yes = n == 0 && err == nil
	})
	return yes
}

func (s *syslog) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close() // it is of no use any more
		s.conn = nil
	}
}

func (s *syslog) tend() error { return nil }

// reopen implements sink: the next message goes over a new connection.
func (s *syslog) reopen() error {
	s.hangUp()
	return nil
}

func (s *syslog) close() { s.hangUp() }
