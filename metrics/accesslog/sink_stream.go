package accesslog

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stream is an output that the process was started with. It is not usher's alone: others
// have the same open file, so it cannot be made one whose writes do not wait.
type stream struct {
	raw     syscall.RawConn
	regular bool
	// part is how many bytes of the next line are written.
	part int
}

func newStream(f *os.File) (*stream, error) {
	if f == nil {
		return nil, errors.New("access_log: there is no such output")
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &stream{raw: raw, regular: isRegular(f)}, nil
}

// write implements sink.
func (s *stream) write(b []byte) (done int, err error) {
	at, end := s.part, time.Now().Add(patience)
	for at < len(b) && err == nil {
		n := 0
		n, err = s.once(s.piece(b[at:]), end)
		at += n
	}
	done = lines(b[:at])
	if errors.Is(err, errStuck) && at > s.part {
		err = nil // it is slow, no more
	}
	s.part = at - done
	return done, err
}

// piece is how much of b is written at once: what a pipe that has room takes without a
// wait, in whole lines where they are not too long, so that others may write between them.
func (s *stream) piece(b []byte) []byte {
	const most = 4096 // PIPE_BUF, see pipe(7)
	if s.regular || len(b) <= most {
		return b
	}
	if n := lines(b[:most]); n > 0 {
		return b[:n]
	}
	return b[:most]
}

// once writes when there is room, until end.
func (s *stream) once(b []byte, end time.Time) (n int, err error) {
	failed := s.raw.Control(func(fd uintptr) {
		if !s.regular && !writable(int(fd), time.Until(end)) {
			err = errStuck
			return
		}
		// Not by package os: there the end of a pipe at 1 or 2 is that of the process.
		n, err = unix.Write(int(fd), b)
	})
	if failed != nil {
		return 0, failed
	}
	if errors.Is(err, unix.EAGAIN) {
		err = errStuck
	}
	return max(n, 0), err
}

// writable waits until a write does not wait.
func writable(fd int, most time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, max(0, int(most/time.Millisecond)))
	return n > 0 && err == nil
}

func (s *stream) tend() error { return nil }

// reopen implements sink: it is the starter's to move it.
func (s *stream) reopen() error { return nil }

func (s *stream) close() {}
