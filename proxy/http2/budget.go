package http2

import "time"

// budget bounds how often a client may do what costs usher more than it costs the client:
// so many times at once, and a tenth of that each second. Times are on the sweeper's clock.
type budget struct {
	max, left int64
	// at is when it was last looked at.
	at int64
}

func newBudget(most int, now int64) budget { return budget{int64(most), int64(most), now} }

// spend takes n and says whether that much was there.
func (b *budget) spend(now, n int64) bool {
	if step := int64(10*time.Second) / b.max; now-b.at >= step {
		b.earn((now - b.at) / step)
		b.at = now
	}
	b.left -= n
	return b.left >= 0
}

// earn gives n back.
func (b *budget) earn(n int64) { b.left = min(b.left+n, b.max) }
