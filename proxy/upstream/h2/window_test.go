package h2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Windows of what comes are opened by half, the session's as it comes and the streams' as
// it is read: one that is not read keeps no other waiting.
func TestReceiveWindows(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	slow, fast := p.open(get), p.open(get)
	p.head(1, false, ":status", "200")
	p.head(3, false, ":status", "200")
	for range streamWindow / leastFrame {
		p.must(p.WriteData(1, false, make([]byte, leastFrame)))
	}
	got := make(chan error, 1)
	const size = 16 << 20
	go func() {
		text, err := readAll(fast, all)
		if err == nil && len(text) < size {
			err = fmt.Errorf("%d bytes", len(text))
		}
		got <- err
	}()
	window, session := streamWindow, sessionWindow-streamWindow
	for left := size; left > 0; {
		for n := min(left, window, session, leastFrame); n > 0; n = min(left, window, session, leastFrame) {
			p.must(p.WriteData(3, left == n, make([]byte, n)))
			left -= n
			window -= n
			session -= n
		}
		if left == 0 {
			break
		}
		f := want[*http2.WindowUpdateFrame](p)
		switch f.StreamID {
		case 0:
			session += int(f.Increment)
		case 3:
			window += int(f.Increment)
		default:
			t.Errorf("got %v", f)
		}
		if f.StreamID == 0 && f.Increment < sessionWindow/2 || f.StreamID == 3 && f.Increment < streamWindow/2 {
			t.Errorf("opened by %d", f.Increment)
		}
	}
	p.must(<-got)
	fast.Release()
	// The slow one goes on as it is read.
	if _, err := readAll(slow, streamWindow); err != nil {
		t.Error(err)
	}
	for {
		if f := want[*http2.WindowUpdateFrame](p); f.StreamID == 1 {
			break
		}
	}
	p.must(p.WriteData(1, true, make([]byte, leastFrame)))
	if text, err := readAll(slow, all); !strings.HasSuffix(text, "0\r\n\r\n") || err != nil {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
	slow.Release()
	eventually(t, "nothing is held", func() bool { idle, _ := p.Idle(); return idle })
}

// Padding is given back at once, and so is what comes for a stream that is gone.
func TestWindowOfWaste(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	st := p.open(get)
	p.head(1, false, ":status", "200")
	for window, left := streamWindow, 3*streamWindow; left > 0; left -= 257 {
		p.must(p.WriteDataPadded(1, false, []byte("x"), make([]byte, 255)))
		if window -= 257; window < 257 {
			window += int(want[*http2.WindowUpdateFrame](p).Increment)
		}
	}
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
	for session := 0; session < 2*sessionWindow; {
		p.must(p.WriteData(1, false, make([]byte, leastFrame)))
		if session += leastFrame; session%(sessionWindow/2) == 0 {
			if f := want[*http2.WindowUpdateFrame](p); f.StreamID != 0 {
				t.Errorf("got %v", f)
			}
		}
	}
}
