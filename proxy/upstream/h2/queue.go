package h2

import "sync"

// blockSize is what a queue grows by.
const blockSize = 8 << 10

type blockBytes [blockSize]byte

var blocks = sync.Pool{New: func() any { return new(blockBytes) }}

// queue holds bytes that were received and not read yet. An empty one holds no memory.
type queue struct {
	blocks []*blockBytes
	// from is the first byte of the first block, to the end of the last.
	from, to int
	len      int
}

// write appends a copy of b.
func (q *queue) write(b []byte) {
	q.len += len(b)
	for len(b) > 0 {
		if len(q.blocks) == 0 || q.to == blockSize {
			q.blocks = append(q.blocks, blocks.Get().(*blockBytes)) //nolint:forcetypeassert // it holds nothing else
			q.to = 0
		}
		n := copy(q.blocks[len(q.blocks)-1][q.to:], b)
		q.to += n
		b = b[n:]
	}
}

// read moves bytes to p and says how many.
func (q *queue) read(p []byte) (n int) {
	for n < len(p) && q.len > 0 {
		first := q.blocks[0]
		end := blockSize
		if len(q.blocks) == 1 {
			end = q.to
		}
		m := copy(p[n:], first[q.from:end])
		n += m
		q.from += m
		q.len -= m
		if q.from == end {
			q.drop()
		}
	}
	return n
}

// drop gives the first block back.
func (q *queue) drop() {
	blocks.Put(q.blocks[0])
	last := len(q.blocks) - 1
	copy(q.blocks, q.blocks[1:])
	q.blocks[last] = nil
	q.blocks = q.blocks[:last]
	q.from = 0
	if last == 0 {
		q.to = 0
	}
}

// reset empties it.
func (q *queue) reset() {
	for len(q.blocks) > 0 {
		q.drop()
	}
	q.len = 0
}
