package term

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Screen is a terminal that one program fills until it closes it. It is drawn in one write
// and only where lines changed, so that nothing flickers.
type Screen struct {
	in, out *os.File
	before  *term.State
	// drawn are the lines that are seen; nil: nobody knows.
	drawn []string
}

// OpenScreen takes a terminal over. The caller closes it, whatever happens.
func OpenScreen(in, out *os.File) (*Screen, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	s := &Screen{in: in, out: out, before: before}
	// The other screen, so that what was there is there again afterwards; no cursor.
	_, err = out.WriteString("\x1b[?1049h\x1b[?25l\x1b[2J")
	return s, err
}

// Close gives the terminal back as it was.
func (s *Screen) Close() error {
	_, err := s.out.WriteString("\x1b[0m\x1b[?25h\x1b[?1049l")
	return errors.Join(err, term.Restore(int(s.in.Fd()), s.before))
}

// Size is how many columns and lines there are.
func (s *Screen) Size() (columns, lines int) {
	columns, lines, err := term.GetSize(int(s.out.Fd()))
	if err != nil || columns <= 0 || lines <= 0 {
		return 80, 24
	}
	return columns, lines
}

// Clear makes the next drawing a whole one: after the size has changed.
func (s *Screen) Clear() { s.drawn = nil }

// Draw shows lines, which fit.
func (s *Screen) Draw(lines []string) error {
	var b strings.Builder
	b.WriteString("\x1b[?2026h") // together, where the terminal knows that
	if s.drawn == nil {
		b.WriteString("\x1b[2J")
	}
	for i := range max(len(lines), len(s.drawn)) {
		line, old := "", ""
		if i < len(lines) {
			line = lines[i]
		}
		if i < len(s.drawn) {
			old = s.drawn[i]
		}
		if line != old || s.drawn == nil {
			b.WriteString("\x1b[" + strconv.Itoa(i+1) + ";1H" + line + "\x1b[K")
		}
	}
	b.WriteString("\x1b[?2026l")
	s.drawn = append([]string{}, lines...)
	_, err := s.out.WriteString(b.String())
	return err
}

// Key is one that was pressed: a letter, or one of those below.
type Key rune

// The keys that are no letters.
const (
	KeyUp Key = 0x110000 + iota
	KeyDown
	KeyLeft
	KeyRight
	KeyInterrupt Key = 3
	KeyTab       Key = '\t'
)

// Keys reads keys until ctx ends, or the input; then it closes the channel. The caller
// reads the channel until then.
func (s *Screen) Keys(ctx context.Context) <-chan Key {
	keys := make(chan Key)
	go func() {
		defer close(keys)
		buf := make([]byte, 64)
		for ctx.Err() == nil {
			n, ok := s.read(buf)
			if !ok {
				return
			}
			for _, k := range parseKeys(buf[:n]) {
				select {
				case keys <- k:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return keys
}

// read waits a moment for input; none is no end.
func (s *Screen) read(buf []byte) (n int, ok bool) {
	const moment = 50 * time.Millisecond
	fds := []unix.PollFd{{Fd: int32(s.in.Fd()), Events: unix.POLLIN}}
	ready, err := unix.Poll(fds, int(moment.Milliseconds()))
	switch {
	case errors.Is(err, unix.EINTR) || err == nil && ready == 0:
		return 0, true
	case err != nil:
		return 0, false
	}
	n, err = s.in.Read(buf)
	return n, err == nil && n > 0
}

// parseKeys takes apart what a terminal sends at once.
func parseKeys(data []byte) (keys []Key) {
	arrows := map[byte]Key{'A': KeyUp, 'B': KeyDown, 'C': KeyRight, 'D': KeyLeft}
	for i := 0; i < len(data); i++ {
		if data[i] != 0x1b {
			keys = append(keys, Key(data[i]))
			continue
		}
		if i+1 >= len(data) || data[i+1] != '[' && data[i+1] != 'O' {
			continue // the escape key alone, or with another
		}
		if i += 2; i >= len(data) {
			break
		}
		if k, known := arrows[data[i]]; known {
			keys = append(keys, k)
			continue
		}
		for i < len(data) && (data[i] < '@' || data[i] > '~') { // a longer sequence to its end
			i++
		}
	}
	return keys
}
