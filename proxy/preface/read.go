package preface

import (
	"errors"
	"slices"

	"usher/proxy/wire"
)

// errMore says that what has been read is a beginning.
var errMore = errors.New("more is needed")

// ErrTooLong is a beginning that takes more bytes than it may.
var ErrTooLong = errors.New("the beginning of the connection is too long")

// readSize is how much is read at least where a beginning is not whole.
const readSize = 2 << 10

// read reads until scan has found what it looks for in c.Early, or an error; errMore from
// it goes on, up to limit bytes.
func read(c *wire.Client, limit int, scan func(b []byte) error) error {
	for {
		if len(c.Early) > 0 {
			if err := scan(c.Early); !errors.Is(err, errMore) {
				return err
			}
		}
		if len(c.Early) >= limit {
			return ErrTooLong
		}
		have := len(c.Early)
		c.Early = slices.Grow(c.Early, min(readSize, limit-have))
		n, err := c.TCP.Read(c.Early[have:min(cap(c.Early), limit)])
		c.Early = c.Early[:have+n]
		if n > 0 {
			c.Heard.Store(true)
		}
		if err != nil && n == 0 {
			return err
		}
	}
}
