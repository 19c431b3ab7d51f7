package accesslog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usher/config"
	"usher/metrics"
)

// numbered is an entry that is known by its status and its size.
func numbered(e *Entry, shard metrics.Shard, i int) *Entry {
	e.Shard, e.Received, e.Sent = shard, uint64(shard), uint64(i)
	return e
}

// load adds n entries from each of some goroutines.
func (s *scene) load(goroutines, n int) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			e := example()
			for i := range n {
				if !s.Add(numbered(e, metrics.Shard(g), i)) {
					s.tb.Error("not taken")
				}
			}
		})
	}
	wg.Wait()
}

// whole checks that each line is one entry, and returns how many there are of each that
// load added.
func whole(t *testing.T, lines []string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for _, line := range lines {
		var e struct {
			Received int `json:"bytes_received"`
			Sent     int `json:"bytes_sent"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		seen[fmt.Sprint(e.Received, "/", e.Sent)]++
	}
	return seen
}

// mustHaveAll checks that what load added is there, once each.
func mustHaveAll(t *testing.T, lines []string, goroutines, n int) {
	t.Helper()
	seen := whole(t, lines)
	if len(lines) != goroutines*n || len(seen) != goroutines*n {
		t.Errorf("%d lines of %d entries, want %d", len(lines), len(seen), goroutines*n)
	}
}

// plenty has buffers for all that a test adds: whatever the machine, nothing is dropped.
func plenty(c *config.AccessLog) { c.BufferSize = 64 << 20 }

// The file may be moved away, or cut off, while entries come: none is lost or torn.
func TestRotation(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	s := begin(t, path, plenty)
	const goroutines, n, rotations = 4, 5000, 20
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.load(goroutines, n)
	}()
	var all []string
	for i := range rotations {
		old := path + "." + strconv.Itoa(i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		s.Reopen()
		wait(t, "the file is there again", func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
	<-done
	s.end()
	for i := range rotations {
		all = append(all, splitLines(t, read(t, path+"."+strconv.Itoa(i)))...)
	}
	all = append(all, splitLines(t, read(t, path))...)
	mustHaveAll(t, all, goroutines, n)
	if s.dropped.Value() != 0 {
		t.Errorf("%d dropped", s.dropped.Value())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^fileMode != 0 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

// A rotation that nobody told of is found out.
func TestRotationUntold(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	s := begin(t, path, nil)
	s.load(1, 1)
	wait(t, "the line is there", func() bool { return read(t, path) != "" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the file is there again", func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	s.load(1, 2)
	s.end()
	if n := len(splitLines(t, read(t, path))); n != 2 {
		t.Errorf("%d lines", n)
	}
}

// logrotate's copytruncate.
func TestTruncated(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	s := begin(t, path, nil)
	s.load(1, 3)
	wait(t, "the lines are there", func() bool { return strings.Count(read(t, path), "\n") == 3 })
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	s.load(1, 2)
	s.end()
	mustHaveAll(t, splitLines(t, read(t, path)), 1, 2)
}

// What a process before could not finish does not become the beginning of a line.
func TestTornBefore(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	if err := os.WriteFile(path, []byte("{\"whole\":1}\n{\"to"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, path, nil)
	s.load(1, 2)
	s.end()
	lines := splitLines(t, read(t, path))
	if len(lines) != 4 || lines[1] != `{"to` {
		t.Fatalf("got %q", lines)
	}
	mustHaveAll(t, lines[2:], 1, 2)
}

// A full disk: entries wait, then are dropped and counted, and nobody waits for it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := begin(t, "/dev/full", func(c *config.AccessLog) { c.BufferSize = 256 << 10 })
	const goroutines, n = 4, 2000
	s.load(goroutines, n) // it returns: that is the test
	if got := s.dropped.Value(); got == 0 || got >= goroutines*n {
		t.Errorf("%d dropped", got)
	}
	wait(t, "it is told", func() bool { return strings.Contains(s.told.String(), "no space left on device") })
	s.endNow()
	if got := s.dropped.Value(); got != goroutines*n {
		t.Errorf("%d dropped in the end, want all of %d", got, goroutines*n)
	}
	if n := strings.Count(s.told.String(), "no space left"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// A disk that is full in the middle of a line, and has room again later. RLIMIT_FSIZE would
// be the whole process's: a file system of its own has one that is real.
func TestDiskFullForAWhile(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 20<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "access.log")
	s := begin(t, path, nil)
	const n = 70 // of about 700 bytes
	s.load(1, n)
	wait(t, "it is told", func() bool { return strings.Contains(s.told.String(), "no space left on device") })
	if text := read(t, path); strings.HasSuffix(text, "\n") {
		t.Fatal("the disk was not full within a line: nothing is shown")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.end()
	mustHaveAll(t, splitLines(t, read(t, path)), 1, n)
	if s.dropped.Value() != 0 {
		t.Errorf("%d dropped", s.dropped.Value())
	}
}

// The rest of a torn line comes behind its beginning, unless that is not the end of the
// file any more.
func TestTornLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		between func(path string) error
		want    string
	}{
		"goes on":   {func(string) error { return nil }, "one\ntwo\nthree\n"},
		"truncated": {func(path string) error { return os.Truncate(path, 0) }, "two\nthree\n"},
		"another's": {func(path string) error { return appendTo(path, "!") }, "one\ntw!\ntwo\nthree\n"},
		"moved":     {func(path string) error { return os.Rename(path, path+".1") }, "two\nthree\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := fresh(t)
			f, err := openFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			// As a write does that came to "one\ntw" before the disk was full.
			if _, err := f.f.WriteString("one\ntw"); err != nil {
				t.Fatal(err)
			}
			f.part, f.size = 2, f.length()
			if err := tc.between(path); err != nil {
				t.Fatal(err)
			}
			if name == "moved" {
				if err := f.reopen(); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := f.write([]byte("two\nthree\n")); n != 10 || err != nil {
				t.Fatal(n, err)
			}
			if got := read(t, path); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// A FIFO nobody has opened, then one whose reader does not read, then one who does.
func TestFIFO(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, path, func(c *config.AccessLog) { c.BufferSize = 256 << 10 })
	const n = 2000
	s.load(4, n)
	without := s.dropped.Value()
	if without == 0 || without >= 4*n {
		t.Errorf("%d dropped without a reader", without)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	wait(t, "it writes", func() bool {
		fds := []unix.PollFd{{Fd: int32(reader.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
	})
	s.load(4, n)
	stuck := s.dropped.Value()
	if stuck <= without {
		t.Error("nothing dropped while the reader does not read")
	}
	var text strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			k, err := reader.Read(b)
			if err != nil || k == 0 {
				return
			}
			text.Write(b[:k])
		}
	}()
	s.end()
	<-done
	lines := splitLines(t, text.String())
	whole(t, lines)
	if total := len(lines) + int(s.dropped.Value()); total != 8*n {
		t.Errorf("%d written and %d dropped are %d, want %d", len(lines), s.dropped.Value(), total, 8*n)
	}
}

// A standard output whose reader does not read holds nobody up, and loses no part of a
// line.
func TestStdoutStuck(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_ = writer.Fd() // so that its writes wait, as those of a standard output do
	s := beginWith(t, Options{Stdout: writer}, "stdout", func(c *config.AccessLog) { c.BufferSize = 256 << 10 })
	const n = 2000
	s.load(4, n)
	if got := s.dropped.Value(); got == 0 || got >= 4*n {
		t.Errorf("%d dropped", got)
	}
	var lines []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, _ := readAll(reader)
		lines = splitLines(t, b)
	}()
	s.end()
	_ = writer.Close()
	<-done
	whole(t, lines)
	if total := len(lines) + int(s.dropped.Value()); total != 4*n {
		t.Errorf("%d written and %d dropped are %d, want %d", len(lines), s.dropped.Value(), total, 4*n)
	}
}

func readAll(f *os.File) (string, error) {
	var text strings.Builder
	_, err := f.WriteTo(&text)
	return text.String(), err
}

// The reader of a standard output may leave: that is not the end of the process.
func TestStdoutLeft(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	defer writer.Close()
	s := beginWith(t, Options{Stderr: writer}, "stderr", nil)
	s.load(1, 10)
	wait(t, "it is told", func() bool { return strings.Contains(s.told.String(), "broken pipe") })
	s.endNow()
	if s.dropped.Value() != 10 {
		t.Errorf("%d dropped", s.dropped.Value())
	}
}

// An output that cannot be is an error at once.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"/does/not/exist/access.log", t.TempDir(), "stdout"} {
		l, err := Open(Options{
			Config: config.AccessLog{Output: output, Sample: 1, BufferSize: 1 << 20, FlushInterval: time.Second},
			Clock:  func() int64 { return 1 },
		})
		if err == nil {
			t.Errorf("%s: no error", output)
			l.Close(t.Context())
		}
	}
}

// What is added while the log is replaced goes to one of the two.
func TestReplaced(t *testing.T) {
	t.Parallel()
	path := fresh(t)
	const goroutines, n = 4, 3000
	first, second := begin(t, path, plenty), begin(t, path, plenty)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			e := example()
			for i := range n {
				if !first.Add(numbered(e, metrics.Shard(g), i)) && !second.Add(e) {
					t.Error("neither takes it")
				}
			}
		})
	}
	first.end()
	wg.Wait()
	second.end()
	mustHaveAll(t, splitLines(t, read(t, path)), goroutines, n)
}
