package term

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestParseKeys(t *testing.T) {
	for in, want := range map[string][]Key{
		"q":              {'q'},
		"\x1b[A\x1b[B":   {KeyUp, KeyDown},
		"\x1bOC\x1b[Dp":  {KeyRight, KeyLeft, 'p'},
		"\x1b":           nil,
		"\x1b[1;5Cx":     {'x'},
		"\x03\t":         {KeyInterrupt, KeyTab},
		"\x1b[":          nil,
		"\x1b[200~paste": {'p', 'a', 's', 't', 'e'},
	} {
		if got := parseKeys([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}

// TestScreen: only what changed is written, and the terminal is given back as it was.
func TestScreen(t *testing.T) {
	outside, inside, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer outside.Close()
	defer inside.Close()
	before, err := unix.IoctlGetTermios(int(inside.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenScreen(inside, inside)
	if err != nil {
		t.Fatal(err)
	}
	readUntil(t, outside, "\x1b[2J")
	if err := s.Draw([]string{"one", "two"}); err != nil {
		t.Fatal(err)
	}
	readUntil(t, outside, "\x1b[?2026l")
	if err := s.Draw([]string{"one", "TWO"}); err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, outside, "\x1b[?2026l"); got != "\x1b[?2026h\x1b[2;1HTWO\x1b[K\x1b[?2026l" {
		t.Errorf("the second time: %q", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	keys := s.Keys(ctx)
	if _, err := outside.WriteString("\x1b[A"); err != nil {
		t.Fatal(err)
	}
	if k := <-keys; k != KeyUp {
		t.Errorf("got %v", k)
	}
	cancel()
	for range keys {
		t.Error("a key that nobody pressed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := unix.IoctlGetTermios(int(inside.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

func readUntil(t *testing.T, f *os.File, end string) string {
	t.Helper()
	var all bytes.Buffer
	buf := make([]byte, 1)
	for !strings.HasSuffix(all.String(), end) {
		if _, err := f.Read(buf); err != nil {
			t.Fatalf("%q: %v", all.String(), err)
		}
		all.Write(buf)
	}
	return all.String()
}

func TestFit(t *testing.T) {
	p := New(&bytes.Buffer{}, "always", noEnv).WithWidth(3)
	for in, want := range map[string]string{
		"abc": "abc", "abcd": "abc",
		p.Paint(Bad, "abcd") + "e": "\x1b[31mabc\x1b[0m",
		"a" + p.Paint(Bad, "bc"):   "a\x1b[31mbc\x1b[0m",
	} {
		if got := p.Fit(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
