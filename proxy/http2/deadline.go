package http2

import "time"

const (
	// toldTimeout is how long the first GOAWAY of a drain waits for its PING.
	toldTimeout = time.Second
	// lingerTime and lingerBytes are what is read from a client after the last word, so
	// that it reaches it: closing with input unread resets a connection.
	lingerTime  = 2 * time.Second
	lingerBytes = 256 << 10
)

// after is now plus d; a d of 0 is no deadline, which is 0 as well.
func after(now int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return now + int64(d)
}

// rearm sets the deadline to the first of those that there are. The caller holds c.mu.
func (c *Conn) rearm() {
	first := int64(0)
	for _, at := range [...]int64{c.greetBy, c.ackBy, c.partBy, c.idleBy} {
		if at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	c.watch.Arm(first)
}

// Expire implements wire.Expirer: the client has not sent in time what it should have.
func (c *Conn) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.server.Sweeper.Now()
	over := func(at int64) bool { return at > 0 && at <= now }
	switch {
	case c.ending:
		c.cut()
	case over(c.greetBy):
		c.bye(ProtocolError, "no preface and settings in time")
	case over(c.ackBy):
		c.bye(SettingsTimeout, "settings not acknowledged in time")
	case over(c.partBy):
		c.bye(EnhanceYourCalm, "frame or header block not finished in time")
	case over(c.idleBy):
		c.bye(NoError, "idle")
	case c.server.closing.Load(): // everything is to end
		c.cut()
	default: // it came at the last moment, and there is no deadline any more
		c.startDrain()
	}
	c.rouse()
}

// cut ends the connection without a word. The caller holds c.mu.
func (c *Conn) cut() {
	c.ending, c.severed = true, true
	c.cutStreams()
	_ = c.nc.SetDeadline(past)
}

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

// Probe implements wire.Prober, for what may also come later: the second word of a drain,
// and parking.
func (c *Conn) Probe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	switch {
	case c.toldBy > 0:
		if now >= c.toldBy {
			c.tell()
		}
	case c.watch.Waited(now) >= int64(parkAfter):
		c.leave()
	}
}

// taker is the Conn as the target of its second watch.
type taker Conn

// Expire implements wire.Expirer: the client has not taken what was sent, or not closed.
func (t *taker) Expire() {
	c := (*Conn)(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut()
	c.rouse()
}

// drain tells the client to open no more streams: first in general, then, once it has
// answered the PING that goes along, which was the last (RFC 9113 §6.8).
func (c *Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.parked && c.last > 0 { // others learn of it when they have been served once
		c.startDrain()
	}
}

// startDrain does so while c.mu is held.
func (c *Conn) startDrain() {
	if c.draining || c.ending {
		return
	}
	c.draining = true
	now := c.now()
	c.toldBy = now + int64(toldTimeout)
	c.watch.Wait(now)
	c.out = appendGoAway(c.out, maxStreamID, NoError, "")
	c.out = appendPing(c.out, 0, drainPing[:])
	c.wake()
}

// drainPing is what the PING of a drain holds.
var drainPing = [8]byte{'u', 's', 'h', 'e', 'r', 'b', 'y', 'e'}

// tell says which stream was the last. The caller holds c.mu.
func (c *Conn) tell() {
	c.toldBy = 0
	c.watch.Wait(0)
	if c.told || c.ending {
		return
	}
	c.told = true
	c.out = appendGoAway(c.out, c.last, NoError, "")
	c.wake()
	if len(c.streams) == 0 {
		c.bye(NoError, "")
	}
}
