package wire

import (
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// PipeSize is how much a Pipe holds at most. The kernel may give less room.
const PipeSize = 256 << 10

// Pipe is what bytes pass through on their way from one socket to another without
// leaving the kernel (splice(2)). One goroutine uses it at a time.
//
// The standard library splices too, each time by way of the scheduler's entry to a
// blocking system call. As a splice takes a while and yet never waits, that only has
// threads fight for the processor: it made large bodies twice as dear.
type Pipe struct {
	in, out int
	held    int
	// want is how much the step under way is to move; n and err are what came of it.
	want, n int
	err     error
	// take and give are the callbacks of the steps, made once.
	take, give func(fd uintptr) bool
	cleanup    runtime.Cleanup
}

// pipes are those that nobody uses.
var pipes = sync.Pool{New: func() any { return newPipe() }}

// TakePipe returns an empty Pipe, nil when the process has no descriptors left for one.
// Release gives it back.
func TakePipe() *Pipe {
	p, _ := pipes.Get().(*Pipe)
	return p
}

func newPipe() *Pipe {
	var fd [2]int
	if unix.Pipe2(fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fd[0]), unix.F_SETPIPE_SZ, PipeSize) // a smaller one serves as well
	p := &Pipe{out: fd[0], in: fd[1]}
	p.take = func(fd uintptr) bool { return p.step(int(fd), p.in) }
	p.give = func(fd uintptr) bool { return p.step(p.out, int(fd)) }
	p.cleanup = runtime.AddCleanup(p, closeBoth, fd) // for those that the list drops
	return p
}

func closeBoth(fd [2]int) {
	_ = unix.Close(fd[0])
	_ = unix.Close(fd[1])
}

// Release gives the Pipe back. What it still holds is lost.
func (p *Pipe) Release() {
	if p.held > 0 {
		p.cleanup.Stop()
		closeBoth([2]int{p.out, p.in})
		return
	}
	pipes.Put(p)
}

// Held is the number of bytes in the Pipe.
func (p *Pipe) Held() int { return p.held }

// Fill waits until src has something to give and takes up to n bytes of it; 0 without an
// error is the end. The Pipe is empty. Nobody else reads from src meanwhile.
func (p *Pipe) Fill(src syscall.RawConn, n int) (int, error) {
	p.want, p.n, p.err = min(n, PipeSize), 0, nil
	if err := src.Read(p.take); err != nil {
		return 0, err
	}
	p.held = p.n
	return p.n, p.err
}

// Drain waits until dst takes something, and gives it what it takes of what the Pipe
// holds, which is something. Nobody else writes to dst meanwhile.
func (p *Pipe) Drain(dst syscall.RawConn) (int, error) {
	p.want, p.n, p.err = p.held, 0, nil
	if err := dst.Write(p.give); err != nil {
		return 0, err
	}
	p.held -= p.n
	return p.n, p.err
}

// step is one splice. It returns false when the socket is to be waited for.
func (p *Pipe) step(from, to int) bool {
	const flags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(p.want), flags)
		switch errno {
		case 0:
			p.n = int(n)
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			p.err = errno
			return true
		}
	}
}
