package http2

import (
	"bytes"
	"encoding/binary"

	"usher/config"
)

// greeting is what a server says first: its settings, and the connection's window.
func greeting(h config.HTTP2) []byte {
	settings := appendSetting(nil, settingMaxStreams, uint32(h.MaxConcurrentStreams))
	settings = appendSetting(settings, settingInitialWindow, uint32(h.StreamWindow))
	settings = appendSetting(settings, settingMaxHeaderListSize, uint32(h.MaxHeaderSize))
	b := appendFrame(nil, len(settings), frameSettings, 0, 0)
	return appendWindowUpdate(append(b, settings...), 0, connWindow-defaultWindow)
}

// settingsCost is what a SETTINGS frame costs of the frames that carry nothing.
const settingsCost = 10

// onSettings takes a SETTINGS frame (RFC 9113 §6.5).
func (c *Conn) onSettings(f frame, payload []byte) error {
	if f.stream != 0 {
		return &fault{ProtocolError, "SETTINGS on a stream"}
	}
	if f.has(flagAck) {
		return c.onAck(payload)
	}
	if len(payload)%6 != 0 {
		return &fault{FrameSizeError, "SETTINGS of a length that is no multiple of 6"}
	}
	window := int64(-1)
	for b := payload; len(b) > 0; b = b[6:] {
		id, v := binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])
		if err := checkSetting(id, v); err != nil {
			return err
		}
		if id == settingInitialWindow {
			window = int64(v) // the last one counts
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greetBy = 0
	if err := c.wasteLocked(settingsCost); err != nil {
		return err
	}
	if window >= 0 {
		if err := c.setWindows(window); err != nil {
			return err
		}
	}
	return c.control(appendFrame(c.out, 0, frameSettings, flagAck, 0))
}

// checkSetting refuses values that cannot be. Most settings need nothing else: usher
// pushes nothing, opens no streams, sends frames of the least size, and uses no table.
func checkSetting(id uint16, v uint32) error {
	switch {
	case id == settingEnablePush && v > 1:
		return &fault{ProtocolError, "SETTINGS_ENABLE_PUSH is neither 0 nor 1"}
	case id == settingInitialWindow && v > maxWindow:
		return &fault{FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE beyond 2^31-1"}
	case id == settingMaxFrameSize && (v < maxFrame || v >= 1<<24):
		return &fault{ProtocolError, "SETTINGS_MAX_FRAME_SIZE below 2^14 or beyond 2^24-1"}
	}
	return nil
}

// setWindows changes the windows of the streams that are open and of those to come, which
// may make them negative (RFC 9113 §6.9.2). The caller holds c.mu.
func (c *Conn) setWindows(initial int64) error {
	delta := initial - c.initialWindow
	c.initialWindow = initial
	for _, s := range c.streams {
		if s.outWindow+delta > maxWindow {
			return &fault{FlowControlError, "window beyond 2^31-1"}
		}
		if s.outWindow += delta; delta > 0 {
			s.cond.Broadcast()
		}
	}
	return nil
}

// onAck takes the acknowledgement of usher's settings.
func (c *Conn) onAck(payload []byte) error {
	if len(payload) != 0 {
		return &fault{FrameSizeError, "acknowledgement of SETTINGS with a payload"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ackBy == 0 {
		return c.wasteLocked(1)
	}
	c.ackBy = 0
	return nil
}

// onPing takes a PING frame (RFC 9113 §6.7).
func (c *Conn) onPing(f frame, payload []byte) error {
	if f.stream != 0 {
		return &fault{ProtocolError, "PING on a stream"}
	}
	if len(payload) != 8 {
		return &fault{FrameSizeError, "PING of another length than 8"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.has(flagAck) && c.toldBy > 0 && bytes.Equal(payload, drainPing[:]) {
		c.tell()
		return nil
	}
	if err := c.wasteLocked(1); err != nil || f.has(flagAck) {
		return err
	}
	return c.control(appendPing(c.out, flagAck, payload))
}

// onGoAway takes a GOAWAY frame (RFC 9113 §6.8): the client opens no more streams, and
// usher opens none anyway.
func (c *Conn) onGoAway(f frame, payload []byte) error {
	if f.stream != 0 {
		return &fault{ProtocolError, "GOAWAY on a stream"}
	}
	if len(payload) < 8 {
		return &fault{FrameSizeError, "GOAWAY shorter than 8"}
	}
	return c.waste(1)
}

// onPriority takes a PRIORITY frame. Priorities are gone (RFC 9113 §5.3.2), but not what
// makes one malformed.
func (c *Conn) onPriority(f frame, payload []byte) error {
	if f.stream == 0 {
		return &fault{ProtocolError, "PRIORITY on stream 0"}
	}
	if len(payload) != 5 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refuse(f.stream, c.find(f.stream), FrameSizeError, "PRIORITY of another length than 5")
	}
	if dependsOnItself(f.stream, payload) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refuse(f.stream, c.find(f.stream), ProtocolError, selfDependent)
	}
	return c.waste(1)
}

const selfDependent = "stream that depends on itself (RFC 7540 §5.3.1)"

// dependsOnItself says whether a priority names the stream that it is of.
func dependsOnItself(stream uint32, priority []byte) bool {
	return binary.BigEndian.Uint32(priority)&maxStreamID == stream
}
