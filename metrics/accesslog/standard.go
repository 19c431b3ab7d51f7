package accesslog

import (
	"encoding/hex"
	"strconv"
	"unsafe"
)

// standard is line for format json with all its fields: what line writes by a program, step
// by step, is written here in a row, which takes half the instructions.
func (n *encoder) standard(dst []byte, e *Entry) []byte {
	n.findHeads(e)
	dst = n.time(append(dst, `{"time":"`...), e.Start+n.offset)
	dst = append(dst, '"')
	dst = n.asked(dst, e)
	dst = n.became(dst, e)
	dst = n.place(dst, e)
	dst = n.tried(dst, e)
	dst = n.told(dst, e)
	return append(dst, "}\n"...)
}

// asked appends who asked, and for what.
func (n *encoder) asked(dst []byte, e *Entry) []byte {
	if len(e.RequestID) > 0 {
		dst = n.bytes(append(dst, `,"request_id":"`...), e.RequestID)
	}
	if e.Trace != [16]byte{} {
		dst = append(hex.AppendEncode(append(dst, `,"trace_id":"`...), e.Trace[:]), '"')
	}
	if e.Listener != "" {
		dst = n.text(append(dst, `,"listener":"`...), e.Listener)
	}
	if len(e.Client) > 0 {
		dst = n.bytes(append(dst, `,"client_ip":"`...), e.Client)
	}
	if len(e.Peer) > 0 {
		dst = n.peer(append(dst, `,"peer":"`...), e)
	}
	if len(e.Method) > 0 {
		dst = n.bytes(append(dst, `,"method":"`...), e.Method)
	}
	if e.Scheme != "" {
		dst = append(append(append(dst, `,"scheme":"`...), e.Scheme...), '"')
	}
	if len(e.Host) > 0 {
		dst = n.bytes(append(dst, `,"host":"`...), e.Host)
	}
	if len(e.Target) > 0 {
		dst = append(n.target(append(dst, `,"target":"`...), e.Target), '"')
	}
	if e.Protocol != "" {
		dst = append(append(append(dst, `,"protocol":"`...), e.Protocol...), '"')
	}
	return dst
}

// became appends what became of it.
func (n *encoder) became(dst []byte, e *Entry) []byte {
	dst = appendStatus(append(dst, `,"status":`...), e.Status)
	if e.Reason != "" {
		dst = append(append(append(dst, `,"reason":"`...), e.Reason...), '"')
	}
	if e.GRPC != 0 {
		dst = n.grpc(append(dst, `,"grpc_status":"`...), e.GRPC)
	}
	if e.Received > 0 {
		dst = strconv.AppendUint(append(dst, `,"bytes_received":`...), e.Received, 10)
	}
	dst = strconv.AppendUint(append(dst, `,"bytes_sent":`...), e.Sent, 10)
	dst = appendSeconds(append(dst, `,"duration":`...), e.Duration)
	if e.Upstream > 0 {
		dst = appendSeconds(append(dst, `,"upstream_duration":`...), e.Upstream)
	}
	return dst
}

// tried appends how it came there.
func (n *encoder) tried(dst []byte, e *Entry) []byte {
	if e.Attempts > 0 {
		dst = strconv.AppendUint(append(dst, `,"attempts":`...), uint64(e.Attempts), 10)
	}
	if e.Retries&allRetries != 0 {
		dst = n.retries(append(dst, `,"retry_reasons":`...), e.Retries)
	}
	if e.Hedged {
		dst = append(dst, `,"hedged":true`...)
	}
	if e.Generation > 0 {
		dst = strconv.AppendUint(append(dst, `,"generation":`...), e.Generation, 10)
	}
	return dst
}

// told appends what the client tells of itself.
func (n *encoder) told(dst []byte, e *Entry) []byte {
	own := len(n.request) - 2
	if v := n.request[own]; len(v) > 0 {
		dst = n.bytes(append(dst, `,"user_agent":"`...), v)
	}
	if v := n.request[own+1]; len(v) > 0 {
		dst = append(n.target(append(dst, `,"referer":"`...), v), '"')
	}
	if t := e.TLS; t != nil {
		dst = n.secure(dst, t)
	}
	if own > 0 && some(n.request[:own]) {
		dst = n.headers(append(dst, `,"request_headers":`...), n.program.request.list[:own], n.request[:own])
	}
	if some(n.response) {
		dst = n.headers(append(dst, `,"response_headers":`...), n.program.response.list, n.response)
	}
	return dst
}

func (n *encoder) secure(dst []byte, t *TLS) []byte {
	if t.Version != "" {
		dst = append(append(append(dst, `,"tls_version":"`...), t.Version...), '"')
	}
	if t.Cipher != "" {
		dst = append(append(append(dst, `,"tls_cipher":"`...), t.Cipher...), '"')
	}
	if t.Name != "" {
		dst = n.text(append(dst, `,"sni":"`...), t.Name)
	}
	if t.Identity != "" {
		dst = n.text(append(dst, `,"client_identity":"`...), t.Identity)
	}
	return dst
}

// placed is where requests went, as it is written. The strings are a table's, which many
// requests share: they are the same ones if they are at the same place.
type placed struct {
	route, service, endpoint, address string
	text                              []byte
}

// places is how many of them an encoder remembers: a power of two.
const places = 16

// place appends where the request went.
func (n *encoder) place(dst []byte, e *Entry) []byte {
	at := uintptr(unsafe.Pointer(unsafe.StringData(e.Address)))
	p := &n.placed[(at>>4^at>>9)%places]
	if !identical(p.address, e.Address) || !identical(p.endpoint, e.Endpoint) || !identical(p.route, e.Route) ||
		!identical(p.service, e.Service) {
		p.route, p.service, p.endpoint, p.address = e.Route, e.Service, e.Endpoint, e.Address
		p.text = n.appendPlace(p.text[:0], e)
	}
	return append(dst, p.text...)
}

func (n *encoder) appendPlace(dst []byte, e *Entry) []byte {
	if e.Route != "" {
		dst = n.text(append(dst, `,"route":"`...), e.Route)
	}
	if e.Service != "" {
		dst = n.text(append(dst, `,"service":"`...), e.Service)
	}
	if e.Endpoint != "" {
		dst = n.text(append(dst, `,"endpoint":"`...), e.Endpoint)
	}
	if e.Address != "" {
		dst = n.text(append(dst, `,"endpoint_address":"`...), e.Address)
	}
	return dst
}

// identical says whether two strings are one, not whether they are equal.
func identical(a, b string) bool {
	return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b)
}
