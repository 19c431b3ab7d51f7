package config

// HTTP2 bounds what a client's HTTP/2 connection may ask for (RFC 9113).
type HTTP2 struct{}
