package http2

import "encoding/binary"

// Code says why a stream or a connection ends (RFC 9113 §7).
type Code uint32

// The codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
	codeCount
)

// String returns the name that the RFC gives the code.
func (c Code) String() string {
	if c >= codeCount {
		return "unknown error code"
	}
	return [codeCount]string{
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
		"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
		"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	}[c]
}

// kind is the type of a frame (RFC 9113 §6).
type kind uint8

const (
	frameData kind = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// The flags of frames; what one means depends on the kind.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The settings (RFC 9113 §6.5.2).
const (
	settingHeaderTableSize   = 1
	settingEnablePush        = 2
	settingMaxStreams        = 3
	settingInitialWindow     = 4
	settingMaxFrameSize      = 5
	settingMaxHeaderListSize = 6
)

// Preface is what a client says first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	frameHeader = 9
	// maxFrame is the largest payload, both ways: it is what everybody must take, and
	// larger ones would make streams wait for each other.
	maxFrame = 16 << 10
	// defaultWindow is what a flow-control window is until somebody says otherwise,
	// maxWindow what it may become.
	defaultWindow = 1<<16 - 1
	maxWindow     = 1<<31 - 1
	// maxStreamID is the largest identifier of a stream.
	maxStreamID = 1<<31 - 1
)

// frame is the header of a frame.
type frame struct {
	length int
	kind   kind
	flags  uint8
	stream uint32
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads the header at the front of b, which holds at least that.
func parseFrame(b []byte) frame {
	_ = b[frameHeader-1]
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   kind(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID, // the reserved bit is ignored
	}
}

// appendFrame appends a frame's header.
func appendFrame(dst []byte, length int, k kind, flags uint8, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(k), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendReset(dst []byte, stream uint32, code Code) []byte {
	dst = appendFrame(dst, 4, frameReset, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, stream uint32, n int64) []byte {
	dst = appendFrame(dst, 4, frameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func appendPing(dst []byte, flags uint8, data []byte) []byte {
	return append(appendFrame(dst, 8, framePing, flags, 0), data...)
}

func appendGoAway(dst []byte, last uint32, code Code, why string) []byte {
	dst = appendFrame(dst, 8+len(why), frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, why...)
}

func appendSetting(dst []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), value)
}

// unpad takes the padding off a payload (RFC 9113 §6.1).
func unpad(f frame, b []byte) ([]byte, error) {
	if !f.has(flagPadded) {
		return b, nil
	}
	if len(b) == 0 {
		return nil, &fault{FrameSizeError, "padded frame without a pad length"}
	}
	pad := int(b[0])
	if pad >= len(b) {
		return nil, &fault{ProtocolError, "more padding than payload"}
	}
	return b[1 : len(b)-pad], nil
}

// fault is what a client did that ends its connection.
type fault struct {
	code Code
	why  string
}

// Error implements error.
func (f *fault) Error() string { return f.code.String() + ": " + f.why }
