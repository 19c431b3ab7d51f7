package wire

import (
	"io"
	"syscall"
	"unsafe"
)

// ErrAgain says that a read or write would wait.
var ErrAgain error = syscall.EAGAIN

// RawRead reads from a non-blocking socket within a callback of syscall.RawConn.
// It makes the bare system call: the scheduler need not hear of one that cannot
// wait, which saves a tenth of a microsecond each. ErrAgain means that nothing is
// there, io.EOF the end. p must not be empty.
func RawRead(fd uintptr, p []byte) (int, error) {
	n, err := rawCall(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// RawWrite writes to a non-blocking socket as RawRead reads from one. What it
// could not write is for the caller to write otherwise.
func RawWrite(fd uintptr, p []byte) (int, error) {
	return rawCall(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// RawWriteLast is RawWrite of the last bytes before the socket is closed, and ends what is
// sent: both leave in one segment, which spares each side the other one. When not all
// bytes were taken the rest and the end are the caller's.
//
// The end must not be left to close: with input unread that resets the connection, and
// what was not sent by then is lost.
func RawWriteLast(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		syscall.MSG_MORE|syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		if int(n) == len(p) {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SHUTDOWN, fd, syscall.SHUT_WR, 0) // close follows anyway
		}
		return int(n), nil
	case syscall.EINTR, syscall.EAGAIN:
		return 0, ErrAgain
	default:
		return 0, errno
	}
}

// rawCall sends or receives. Those calls are for sockets alone and spare the way through
// the file system that read and write take: a twentieth of a small message.
func rawCall(trap, fd uintptr, p []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return 0, ErrAgain
		case errno != 0:
			return 0, errno
		}
		return int(n), nil
	}
}

// Ended says whether the peer of a connection has closed or reset it. It may be
// called while another goroutine reads.
func Ended(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		yes = errno != syscall.EAGAIN && (errno != 0 || n == 0)
	})
	return yes || err != nil
}

// Quiet says whether a connection is open and has nothing to read. It may be called
// while another goroutine reads.
func Quiet(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) { yes = RawQuiet(fd) })
	return yes && err == nil
}

// RawQuiet says whether a socket is open and has nothing to read.
func RawQuiet(fd uintptr) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno == syscall.EAGAIN
}
