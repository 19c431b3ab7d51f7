package core

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"

	"usher/proxy/wire"
)

// Via is the value of the Via fields that usher adds (RFC 9110 §7.6.3).
const Via = "1.1 usher"

// RequestIDName is the field that a request keeps its name in on its way.
const RequestIDName = "X-Request-Id"

// identified is set in an Exchange's Flags once its request has its name. It is a bit
// that no scanner sets.
const identified wire.Flags = 1 << 31

// RequestID returns the name of the request where the listener gives them, nil where it
// does not. One that a trusted proxy sent is kept; a new one is put into the head, so
// that it goes to the endpoint too. The bytes are the head's.
func (x *Exchange) RequestID() []byte {
	if !x.Listener.RequestID {
		return nil
	}
	if x.Flags&identified == 0 {
		x.Flags |= identified
		if !x.Peer.Trusted || len(x.head().Peek(RequestIDName)) == 0 {
			x.nameRequest()
		}
	}
	return x.head().Peek(RequestIDName)
}

// knownID is RequestID for a request that has its name already, else nil.
func (x *Exchange) knownID() []byte {
	if x.Flags&identified == 0 {
		return nil
	}
	return x.head().Peek(RequestIDName)
}

// nameRequest makes up 128 bits. They are no secret: nobody is let in for knowing them.
func (x *Exchange) nameRequest() {
	var bits [16]byte
	for i := range 2 {
		n := rand.Uint64()
		for j := range 8 {
			bits[8*i+j] = byte(n >> (8 * j))
		}
	}
	var name [2 * len(bits)]byte
	hex.Encode(name[:], bits[:])
	x.head().Del(RequestIDName)
	x.head().SetBytesV(RequestIDName, name[:])
}

// announce adds the fields that a listener adds by option: what names the request and
// whom it came through. Those of a stranger have been taken out.
func (x *Exchange) announce() {
	x.RequestID()
	if x.Listener.Via {
		x.Fields = append(x.Fields, Field{Name: "Via", Text: Via})
	}
	if x.Listener.Forwarded {
		var room [128]byte
		x.head().AddBytesV("Forwarded", x.appendForwarded(room[:0]))
	}
}

// appendForwarded appends usher's element of the Forwarded field (RFC 7239 §4).
func (x *Exchange) appendForwarded(dst []byte) []byte {
	dst = appendNode(append(dst, "for="...), x.Peer.Addr)
	if len(x.Host) > 0 {
		dst = appendWord(append(dst, ";host="...), x.Host)
	}
	dst = append(append(dst, ";proto="...), x.Listener.Scheme...)
	if x.Peer.by != "" {
		dst = appendWord(append(dst, ";by="...), []byte(x.Peer.by))
	}
	return dst
}

// appendNode appends an address as RFC 7239 §6 writes them: IPv6 in brackets, which
// need quotes.
func appendNode(dst []byte, a netip.Addr) []byte {
	switch {
	case !a.IsValid():
		return append(dst, "unknown"...)
	case a.Is4():
		return a.AppendTo(dst)
	default:
		return append(a.AppendTo(append(dst, `"[`...)), `]"`...)
	}
}

// appendWord appends a token as it is, and anything else as a quoted string.
func appendWord(dst, word []byte) []byte {
	if wire.IsToken(word) {
		return append(dst, word...)
	}
	dst = append(dst, '"')
	for _, c := range word {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
