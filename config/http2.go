package config

// HTTP2 bounds what a client's HTTP/2 connection may ask for (RFC 9113).
type HTTP2 struct {
	// MaxConcurrentStreams is how many requests a connection may have under way; more are
	// refused, and the client may send them again.
	MaxConcurrentStreams int `yaml:"max_concurrent_streams"`
	// MaxHeaderSize bounds a request's head, 32 bytes added for each field (RFC 9113
	// §6.5.2). Beyond it the answer is 431; a client that sends four times as much loses
	// its connection.
	MaxHeaderSize Size `yaml:"max_header_size"`
	// StreamWindow is how much of a request's body a client may send ahead of what was
	// taken from it: what a slow endpoint can make usher hold for each request. At least
	// 64 KiB.
	StreamWindow Size `yaml:"stream_window"`
	// MaxResets is how many requests a client may break off as soon as it has made them, and
	// how many malformed ones it may send, at once; a tenth is given back each second, and
	// one with each request that is answered whole. Beyond it the connection ends.
	MaxResets int `yaml:"max_resets"`
	// MaxEmptyFrames bounds frames that carry nothing (PING, SETTINGS, WINDOW_UPDATE,
	// PRIORITY, empty DATA) in the same way; what is sent to the client earns new ones.
	MaxEmptyFrames int `yaml:"max_empty_frames"`
}

// DefaultHTTP2 returns the bounds of a listener that sets none.
func DefaultHTTP2() HTTP2 {
	return HTTP2{
		MaxConcurrentStreams: 128, MaxHeaderSize: 16 << 10, StreamWindow: 64 << 10,
		MaxResets: 200, MaxEmptyFrames: 1000,
	}
}
