package proxy

import "usher/proxy/core"

// Answer makes f answer the ACME servers that ask over HTTP, on all listeners and before
// any route; nil: nobody does.
func (p *Proxy) Answer(f core.Challenges) { p.core.Answer(f) }
