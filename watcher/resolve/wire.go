package resolve

import (
	"encoding/binary"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// message is what a DNS message tells a tap.
type message struct {
	id uint16
	// name is that of the question, in lower case; family is what it asks for, 0 for
	// anything else.
	name   string
	family families
	// response, truncated and conclusive are of the header: conclusive is a response
	// that says what there is, or that there is nothing.
	response, truncated, conclusive bool
	// ttl is the least of those of addresses and aliases among the answers; negative:
	// there are none.
	ttl time.Duration
}

// parse reads a DNS message; ok is false when it is not a whole one.
func parse(raw []byte) (m message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(raw)
	if err != nil {
		return m, false
	}
	q, err := p.Question()
	if err != nil || p.SkipAllQuestions() != nil {
		return m, false
	}
	m = message{
		id: h.ID, name: strings.ToLower(q.Name.String()),
		response: h.Response, truncated: h.Truncated,
		conclusive: h.Response && (h.RCode == dnsmessage.RCodeSuccess || h.RCode == dnsmessage.RCodeNameError),
	}
	switch q.Type {
	case dnsmessage.TypeA:
		m.family = ipv4
	case dnsmessage.TypeAAAA:
		m.family = ipv6
	}
	m.ttl, ok = leastTTL(&p)
	return m, ok
}

// leastTTL goes over the answers of a message whose questions have been read.
func leastTTL(p *dnsmessage.Parser) (least time.Duration, ok bool) {
	least = -1
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return least, err == dnsmessage.ErrSectionDone //nolint:errorlint // the parser returns it as it is
		}
		switch h.Type {
		case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME:
			if ttl := time.Duration(h.TTL) * time.Second; least < 0 || ttl < least {
				least = ttl
			}
		}
		if p.SkipAnswer() != nil {
			return -1, false
		}
	}
}

// exchange is a question and its response on a connection of their own, as Go's
// resolver makes them. One goroutine at a time uses it.
type exchange struct {
	*tap
	// number is that of the server.
	number   int32
	question message
	// heard says that the server said something of use.
	heard bool
}

// wrote looks at a message that is sent.
func (e *exchange) wrote(raw []byte) {
	if m, ok := parse(raw); ok && !m.response {
		e.question = m
		e.asks(m)
	}
}

// read looks at a message that came. What is no response to the question is not
// listened to, as it could come from anybody; the resolver does the same.
func (e *exchange) read(raw []byte, packet bool) {
	m, ok := parse(raw)
	q := &e.question
	if !ok || !m.conclusive || m.id != q.id || m.name != q.name || m.family != q.family {
		return
	}
	e.heard = true
	if !m.truncated || !packet { // otherwise it is asked again, over TCP
		e.hears(m)
	}
}

// ended takes note that the resolver has closed the connection.
func (e *exchange) ended(c net.Conn) {
	e.remove(c)
	if !e.heard {
		e.skip(e.number)
	}
}

// packetConn is a connection on which each read and each write is a message. It must
// be a net.PacketConn, by which Go's resolver tells it from a stream.
type packetConn struct {
	*net.UDPConn
	*exchange
}

// Read implements net.Conn.
func (c *packetConn) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if err == nil {
		c.read(b[:n], true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *packetConn) Write(b []byte) (int, error) {
	c.wrote(b)
	return c.UDPConn.Write(b)
}

// Close implements net.Conn.
func (c *packetConn) Close() error {
	c.ended(c.UDPConn)
	return c.UDPConn.Close()
}

// streamConn is a connection on which two bytes of length come before a message. A
// write is one message; reads are of any size.
type streamConn struct {
	net.Conn
	*exchange
	// part is the message that has not come as a whole yet, with its length.
	part []byte
}

// Read implements net.Conn.
func (c *streamConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.part = append(c.part, b[:n]...)
	for {
		whole, rest, ok := cutMessage(c.part)
		if !ok {
			return n, err
		}
		c.read(whole, false)
		c.part = rest
	}
}

// cutMessage cuts the first message, without its length, off the bytes of a stream;
// ok is false while it is not whole.
func cutMessage(stream []byte) (whole, rest []byte, ok bool) {
	if len(stream) < 2 {
		return nil, stream, false
	}
	end := 2 + int(binary.BigEndian.Uint16(stream))
	if len(stream) < end {
		return nil, stream, false
	}
	return stream[2:end], stream[end:], true
}

// Write implements net.Conn.
func (c *streamConn) Write(b []byte) (int, error) {
	if whole, _, ok := cutMessage(b); ok {
		c.wrote(whole)
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.ended(c.Conn)
	return c.Conn.Close()
}
