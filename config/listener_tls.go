package config

// ListenerTLS is how clients are met over TLS.
type ListenerTLS struct{}
