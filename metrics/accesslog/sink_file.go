package accesslog

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// fileMode is that of a file that is made: credentials are not in it, but the addresses of
// people are.
const fileMode = 0o640

// file is an output that is a file, or a FIFO.
type file struct {
	path string
	// f is nil while a FIFO has no reader.
	f       *os.File
	regular bool
	// part is how many bytes there are of a line whose rest could not be written, and size
	// what the file was then. torn says that it ends within a line that has no rest.
	part int
	size int64
	torn bool
	// strayed is since when another file, or none, has the name; zero: it has not.
	strayed, tended time.Time
}

// openFile opens a file, or makes it. A FIFO without a reader is opened later.
func openFile(path string) (*file, error) {
	f := &file{path: path}
	if err := f.open(); err != nil && !errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("access_log: %w", err)
	}
	return f, nil
}

// open opens the file that has the name now. On an error all is as before.
func (f *file) open() error {
	// Without O_NONBLOCK a FIFO would have the caller wait for a reader.
	fresh, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, fileMode)
	if err != nil {
		return err
	}
	if f.f == nil || !sameFile(f.f, fresh) {
		f.regular = isRegular(fresh)
		f.part, f.torn = 0, f.regular && endsTorn(f.path)
	}
	f.close()
	f.f, f.strayed = fresh, time.Time{}
	return nil
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// endsTorn says whether a file ends within a line: who wrote it could not write its end.
func endsTorn(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // it may be that nobody may read it
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// write implements sink.
func (f *file) write(b []byte) (done int, err error) {
	if f.f == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	_ = f.f.SetWriteDeadline(time.Now().Add(patience)) // a FIFO's; others have none
	at := f.resume()
	if f.torn {
		if _, err := f.f.WriteString("\n"); err != nil {
			return 0, f.failed(err)
		}
		f.torn = false
	}
	n, err := f.f.Write(b[at:])
	at += n
	done = lines(b[:at])
	if f.part = at - done; f.part > 0 {
		f.size = f.length()
	}
	return done, f.failed(err)
}

// resume returns how many bytes of the next line are in the file already. Where somebody
// has written to the file since, or cut it off, the line begins anew.
func (f *file) resume() int {
	if f.part > 0 && f.regular && f.length() != f.size {
		f.part, f.torn = 0, endsTorn(f.path)
	}
	return f.part
}

func (f *file) length() int64 {
	info, err := f.f.Stat()
	if err != nil {
		return -1
	}
	return info.Size()
}

// failed takes note of an error. A FIFO whose reader has left is opened for the next one.
func (f *file) failed(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStuck
	case errors.Is(err, syscall.EPIPE):
		f.close()
		f.part, f.torn = 0, false
	}
	return err
}

// strayTime is how long another file may have the name before that is taken for a rotation
// that nobody told of: while one is under way there may be none for a moment, and it is not
// usher's to make then.
const strayTime = time.Second

// tend implements sink.
func (f *file) tend() error {
	now := time.Now()
	if f.f == nil || now.Sub(f.tended) < strayTime {
		return nil
	}
	f.tended = now
	at, err := os.Stat(f.path)
	own, err2 := f.f.Stat()
	if err == nil && err2 == nil && os.SameFile(at, own) {
		f.strayed = time.Time{}
		return nil
	}
	if f.strayed.IsZero() {
		f.strayed = now
		return nil
	}
	return f.open()
}

// reopen implements sink.
func (f *file) reopen() error {
	if err := f.open(); err != nil && !errors.Is(err, syscall.ENXIO) {
		return err
	}
	return nil
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // what was written is written
		f.f = nil
	}
}
