package config

// leastWindow is what a client's window is before it knows of another one: a smaller one
// would be a promise broken.
const leastWindow = 1<<16 - 1

// http2 checks the bounds of an HTTP/2 connection.
func (c *checker) http2(h HTTP2, at string) {
	c.number(child(at, "max_concurrent_streams"), "max_concurrent_streams", h.MaxConcurrentStreams, 1)
	c.number(child(at, "max_resets"), "max_resets", h.MaxResets, 1)
	c.number(child(at, "max_empty_frames"), "max_empty_frames", h.MaxEmptyFrames, 100)
	c.size(child(at, "max_header_size"), "max_header_size", h.MaxHeaderSize, 1<<10, 1<<20)
	c.size(child(at, "stream_window"), "stream_window", h.StreamWindow, leastWindow, 1<<30)
}

// size refuses what is not from least to most.
func (c *checker) size(path, key string, n, least, most Size) {
	if n < least || n > most {
		c.bad(path, "%s must be from %s to %s", key, least, most)
	}
}
