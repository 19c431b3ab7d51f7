package http2

import "testing"

// TestBodyGrows: a body that is not taken is not copied again for each of its frames.
func TestBodyGrows(t *testing.T) {
	const most = 20
	part := make([]byte, maxFrame)
	n := testing.AllocsPerRun(1, func() {
		var b body
		for range 256 {
			b.append(part)
		}
		if b.len() != 256*maxFrame {
			t.Errorf("%d bytes", b.len())
		}
		b.drop()
	})
	if n > most {
		t.Errorf("%v buffers, want at most %d", n, most)
	}
}
