package wire

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sleeper is a quiet connection that nobody waits for but a Poller. Wake is called
// once, from the Poller's goroutine, when there is something to read or the peer has
// left; it must not block.
type Sleeper interface{ Wake() }

// Poller waits for many quiet sockets with one goroutine. A goroutine that waits for
// a socket by itself costs several KiB; a socket here costs a slot in a list. It has
// an epoll instance of its own, which sits in the runtime's poller like any other
// descriptor, so that waiting takes no thread either.
type Poller struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	done chan struct{}

	mu    sync.Mutex
	slots []slot
	// free are the slots without a sleeper.
	free []uint32
}

// slot holds one sleeper. Its turn tells an event from one of an earlier sleeper.
type slot struct {
	sleeper Sleeper
	turn    uint32
}

// Place is where a sleeper sleeps.
type Place struct{ slot, turn uint32 }

// Parts and PlaceOf take a Place apart and put it together, for who keeps it in atomics.
func (p Place) Parts() (slot, turn uint32) { return p.slot, p.turn }

// PlaceOf is the inverse of Parts.
func PlaceOf(slot, turn uint32) Place { return Place{slot, turn} }

// NewPoller returns a running Poller. Close ends it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // what makes os.NewFile hand it to the runtime's poller
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{})}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	go p.run()
	return p, nil
}

// Close ends the Poller and waits for its goroutine. Those that sleep are not woken.
func (p *Poller) Close() {
	_ = p.file.Close() // it holds nothing
	<-p.done
}

// Sleep has s woken when the socket fd is readable or its peer leaves, also if it is
// already. again says that the socket has slept before: it is known to the kernel
// then, until it is closed.
func (p *Poller) Sleep(fd int, s Sleeper, again bool) (Place, error) {
	at := p.put(s)
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(at.slot), Pad: int32(at.turn),
	}
	op := unix.EPOLL_CTL_ADD
	if again {
		op = unix.EPOLL_CTL_MOD
	}
	if err := unix.EpollCtl(p.fd, op, fd, &ev); err != nil {
		p.Forget(at)
		return Place{}, os.NewSyscallError("epoll_ctl", err)
	}
	return at, nil
}

func (p *Poller) put(s Sleeper) Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		p.slots[i].sleeper = s
		return Place{i, p.slots[i].turn}
	}
	p.slots = append(p.slots, slot{sleeper: s})
	return Place{uint32(len(p.slots) - 1), 0}
}

// Forget has the sleeper at a place no longer woken. It does nothing when it was woken
// already.
func (p *Poller) Forget(at Place) { p.take(at) }

// take empties a slot and returns its sleeper, nil when it has another one by now.
func (p *Poller) take(at Place) Sleeper {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(at.slot) >= len(p.slots) {
		return nil
	}
	s := &p.slots[at.slot]
	if s.turn != at.turn || s.sleeper == nil {
		return nil
	}
	sleeper := s.sleeper
	s.sleeper = nil
	s.turn++
	p.free = append(p.free, at.slot)
	return sleeper
}

// run wakes sleepers until the Poller is closed.
func (p *Poller) run() {
	defer close(p.done)
	var events [128]unix.EpollEvent
	_ = p.raw.Read(func(fd uintptr) bool { // its error is that the file was closed
		for {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return true
			}
			for _, ev := range events[:max(n, 0)] {
				if s := p.take(Place{uint32(ev.Fd), uint32(ev.Pad)}); s != nil {
					s.Wake()
				}
			}
			if n < len(events) && err == nil {
				return false
			}
		}
	})
}
