package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

const (
	// frameHeader is the length of the header of each frame.
	frameHeader = 9
	// leastFrame is the frame size that every peer takes, and the one that we take.
	leastFrame = 16 << 10
	// maxWindow bounds a flow-control window, and maxStreamID the streams of a session.
	maxWindow   = 1<<31 - 1
	maxStreamID = 1<<31 - 1
	// firstWindow is what each window begins with (RFC 9113 §6.9.2).
	firstWindow = 1<<16 - 1
	// firstTable is the size that a table of fields begins with (RFC 9113 §6.5.2).
	firstTable = 4096
)

// appendFrame appends the header of a frame with n bytes of payload, which follow.
func appendFrame(dst []byte, t http2.FrameType, flags http2.Flags, stream uint32, n int) []byte {
	return append(dst, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWindowUpdate(dst []byte, stream uint32, n int) []byte {
	dst = appendFrame(dst, http2.FrameWindowUpdate, 0, stream, 4)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func appendReset(dst []byte, stream uint32, code http2.ErrCode) []byte {
	dst = appendFrame(dst, http2.FrameRSTStream, 0, stream, 4)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

// appendGoAway says that the session ends. No stream is ever the endpoint's.
func appendGoAway(dst []byte, code http2.ErrCode) []byte {
	dst = appendFrame(dst, http2.FrameGoAway, 0, 0, 8)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendPing(dst []byte, flags http2.Flags, data [8]byte) []byte {
	return append(appendFrame(dst, http2.FramePing, flags, 0, len(data)), data[:]...)
}

func appendSettings(dst []byte, settings ...http2.Setting) []byte {
	dst = appendFrame(dst, http2.FrameSettings, 0, 0, 6*len(settings))
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Val)
	}
	return dst
}

// appendHeaders appends a block of fields, in as many frames as it takes.
func appendHeaders(dst []byte, stream uint32, block []byte, most int, end bool) []byte {
	t, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), most)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		dst = append(appendFrame(dst, t, flags, stream, n), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
		t, flags = http2.FrameContinuation, 0
	}
}

// appendData appends a frame of data.
func appendData(dst []byte, stream uint32, data []byte, end bool) []byte {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	return append(appendFrame(dst, http2.FrameData, flags, stream, len(data)), data...)
}
