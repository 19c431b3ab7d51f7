package config

// ProxyProtocol is the PROXY protocol on a listener.
type ProxyProtocol struct{}
