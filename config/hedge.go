package config

import "time"

// Hedge sends a request that waits for long to a second endpoint too.
type Hedge struct {
	// Delay is the wait for the response header after which a request that is safe to
	// repeat is sent to another endpoint too, within the Budget of its Retry and as one of
	// its Attempts. The response that begins first is passed on. 0: that is not done.
	Delay time.Duration `yaml:"delay"`
}

// hedge checks what is written of a Hedge.
func (c *checker) hedge(h Hedge, at string) {
	if path := child(at, "delay"); c.where.given(path) && h.Delay != 0 {
		c.atLeast(path, "delay", h.Delay, time.Millisecond)
	}
}
