package wire

import "testing"

// However records are cut into pieces, it is known where they end.
func TestRecord(t *testing.T) {
	t.Parallel()
	var stream []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{1, 0, 300, 16384 + 256, 7} {
		stream = append(stream, 23, 3, 3, byte(n>>8), byte(n))
		stream = append(stream, make([]byte, n)...)
		ends[len(stream)] = true
	}
	for size := range 700 {
		var r record
		for at := 0; at < len(stream); {
			next := min(at+size+1, len(stream))
			r.took(stream[at:next])
			if at = next; r.partial() == ends[at] {
				t.Fatalf("pieces of %d bytes: at %d partial is %t", size+1, at, r.partial())
			}
		}
	}
}
