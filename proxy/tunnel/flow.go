package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// spliceMin is how much must be waiting to be moved within the kernel: for less, a copy is
// cheaper.
const spliceMin = 64 << 10

// flowBuffers are for the bytes of tunnels, from a read to the write behind it.
var flowBuffers = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

// flow moves the bytes of a tunnel that go one way.
//
// Most tunnels carry small messages, with long pauses. So between two plain sockets the
// flow lives in one callback of syscall.RawConn.Read, and no buffer is held while the next
// message is waited for. Where much is waiting it is moved within the kernel instead,
// outside of the callback, which holds the lock that splice needs.
type flow struct {
	tunnel   *Tunnel
	src, dst *Side
	// back is the flow of what goes the other way.
	back *flow
	// early is what was read from src before there was a tunnel.
	early []byte
	// inspect is Options.Inspect until it wants no more; nil then.
	inspect func([]byte) (more, ok bool)
	// begun is called before the first bytes; nil after that.
	begun func()
	// moved counts the bytes written.
	moved uint64
	// failed is the side that err came from; nil: none.
	failed *Side
	err    error
	// whole says that src has ended in order and all it sent is passed on, told that dst
	// knows.
	whole atomic.Bool
	told  bool
	// bulky says that the last bytes were moved within the kernel.
	bulky bool
	// out is what give, the callback that writes to dst, has not written yet; sendErr is
	// what became of that.
	out     []byte
	give    func(fd uintptr) bool
	sendErr error
	// last says that the next bytes written are the last.
	last bool
}

// run moves bytes until src ends, and passes that on; or until the tunnel is to end.
func (f *flow) run() {
	defer func() {
		if v := recover(); v != nil {
			f.tunnel.recovered(v)
		}
	}()
	if f.move(); errors.Is(f.err, io.EOF) {
		f.passEnd()
		return
	}
	f.breakOff()
	if !f.tunnel.aborted.Load() {
		f.dst.endWrite()
		f.drain()
	}
}

// passEnd tells dst that src has ended. Where the other way has ended too, a plain dst is
// closed at once, which says the same: all it had sent was read.
func (f *flow) passEnd() {
	f.whole.Store(true)
	if f.told || f.dst.Raw != nil && f.back.whole.Load() {
		return
	}
	f.dst.endWrite()
}

// breakOff begins the end of the tunnel, unless it has begun.
//
// A side that takes no more may have said why: where ends are told as they are, what it
// sent is passed on to the end, within the Grace, and the other flow is not woken.
func (f *flow) breakOff() {
	t, reason := f.tunnel, f.reason()
	if !t.endSoon() {
		return
	}
	t.reason = reason
	if t.o.Resets && reason != core.None {
		t.aborted.Store(true)
		if f.failed == f.dst {
			return
		}
	}
	t.wake()
}

// reason is whom to blame for the end of the tunnel.
func (f *flow) reason() core.Reason {
	switch {
	case timeout(f.err): // it was cut
		return core.None
	case errors.Is(f.err, errRefused):
		return core.BadRequest
	default:
		return f.failed.Gone
	}
}

// errRefused is what Options.Inspect does not let through.
var errRefused = errors.New("what was sent is not let through")

func timeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// move moves bytes until something fails: f.err, which is io.EOF at the end of src.
func (f *flow) move() {
	if len(f.early) > 0 && !f.write(f.early) {
		return
	}
	f.early = nil
	if f.src.Raw == nil {
		f.copy()
		return
	}
	callback := f.onReadable
	for f.err == nil {
		if err := f.src.Raw.Read(callback); err != nil {
			f.fail(f.src, err)
		} else if f.err == nil {
			f.splice()
		}
	}
}

func (f *flow) fail(s *Side, err error) { f.failed, f.err = s, err }

// write writes b to dst and says whether that went well.
func (f *flow) write(b []byte) bool {
	if f.inspect != nil && !f.let(b) {
		return false
	}
	if f.begun != nil {
		f.begun()
		f.begun = nil
	}
	n, err := f.send(b)
	f.moved += uint64(n)
	f.tunnel.alive()
	if err != nil {
		f.fail(f.dst, err)
	}
	return err == nil
}

// send writes b to dst. To a plain socket it does so within a callback: nearly every message
// fits in at once, and the scheduler need not hear of a write that does not wait.
func (f *flow) send(b []byte) (n int, err error) {
	if f.dst.Raw == nil {
		return f.dst.Writer.Write(b)
	}
	if f.give == nil {
		f.give = f.onWritable
	}
	f.out, f.sendErr = b, nil
	if err = f.dst.Raw.Write(f.give); err == nil {
		err = f.sendErr
	}
	n = len(b) - len(f.out)
	f.out = nil
	return n, err
}

// onWritable is the callback of send. It returns false to wait for room.
func (f *flow) onWritable(fd uintptr) bool {
	if f.last {
		f.last = false
		n, err := wire.RawWriteLast(fd, f.out)
		if err == nil {
			f.out = f.out[n:]
			f.told = len(f.out) == 0
		}
	}
	for len(f.out) > 0 {
		n, err := wire.RawWrite(fd, f.out)
		if err != nil {
			f.sendErr = err
			return !errors.Is(err, wire.ErrAgain)
		}
		f.out = f.out[n:]
	}
	f.sendErr = nil
	return true
}

// let asks whether b may pass.
func (f *flow) let(b []byte) bool {
	more, ok := f.inspect(b)
	if !more {
		f.inspect = nil
	}
	if !ok {
		f.fail(f.src, errRefused)
	}
	return ok
}

// copy moves bytes through a buffer, for a src whose reads cannot be split into waiting
// and taking.
func (f *flow) copy() {
	buf, _ := flowBuffers.Get().(*[]byte)
	defer flowBuffers.Put(buf)
	for {
		n, err := f.src.Reader.Read(*buf)
		if n > 0 && !f.write((*buf)[:n]) {
			return
		}
		if err != nil {
			f.fail(f.src, err)
			return
		}
	}
}

// onReadable is the callback: it moves what is there. It returns false to wait for more,
// true to leave, for a failure or to splice.
//
// It reads until there is nothing: a read that comes back short has taken all bytes, but
// an end that came with them is reported once, together with them, and would never be
// seen. It does so before it writes, so that the last bytes leave together with the end.
func (f *flow) onReadable(fd uintptr) bool {
	if f.bulky = f.bulky && f.plenty(fd); f.bulky {
		return true
	}
	buf, _ := flowBuffers.Get().(*[]byte)
	defer flowBuffers.Put(buf)
	for {
		n, err := f.fill(fd, *buf)
		f.last = errors.Is(err, io.EOF)
		switch {
		case n > 0 && !f.write((*buf)[:n]):
			return true
		case errors.Is(err, wire.ErrAgain):
			return false
		case err != nil:
			f.fail(f.src, err)
			return true
		case f.plenty(fd):
			f.bulky = true
			return true
		}
	}
}

// fill reads what is there. Without an error buf is full, and there may be more.
func (f *flow) fill(fd uintptr, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = wire.RawRead(fd, buf[n:])
		n += m
	}
	return n, err
}

// plenty says whether so much is waiting that it is better moved within the kernel.
func (f *flow) plenty(fd uintptr) bool {
	if f.dst.Raw == nil || f.inspect != nil {
		return false
	}
	n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	return err == nil && n >= spliceMin
}

// splice moves what plenty has found. It is there, so that no pipe is held while src is
// waited for.
func (f *flow) splice() {
	p := wire.TakePipe()
	if p == nil {
		f.bulky = false
		return
	}
	defer p.Release()
	if _, err := p.Fill(f.src.Raw, wire.PipeSize); err != nil {
		f.fail(f.src, err)
		return
	}
	for p.Held() > 0 {
		n, err := p.Drain(f.dst.Raw)
		f.moved += uint64(n)
		f.tunnel.alive()
		if err != nil {
			f.fail(f.dst, err)
			return
		}
	}
}

// drain takes what src still sends, until it ends or the time is over: a socket closed
// with input unread would be reset, and its peer could lose what it was sent last.
func (f *flow) drain() {
	if f.src.Raw == nil {
		return
	}
	buf, _ := flowBuffers.Get().(*[]byte)
	defer flowBuffers.Put(buf)
	for {
		over := f.tunnel.over.Load()
		left := over - f.tunnel.now()
		if left <= 0 || f.src.TCP.SetReadDeadline(time.Now().Add(time.Duration(left))) != nil {
			return
		}
		var err error
		// Whoever has moved the end meanwhile ends the wait after that, not before.
		for err == nil && f.tunnel.over.Load() == over {
			_, err = f.src.TCP.Read(*buf)
		}
		if err != nil && !timeout(err) {
			return
		}
	}
}
