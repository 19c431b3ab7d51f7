package config

import "time"

// The versions of the PROXY protocol that endpoints may be told their clients in.
const (
	ProxyV1 = "v1"
	ProxyV2 = "v2"
)

// ProxyProtocol is the PROXY protocol on a listener: what stands in front of usher tells
// at the beginning of a connection whom it is for. Both versions are understood.
type ProxyProtocol struct {
	// From are the peers (CIDR, or one address) that are believed. A header from anybody
	// else is refused. Empty: nobody is, and no header is looked for.
	From []string `yaml:"from"`
	// Timeout bounds the wait for the header.
	Timeout time.Duration `yaml:"timeout"`
	// Required closes connections of those peers that begin without a header; otherwise
	// they are taken as they are.
	Required bool `yaml:"required"`
}
