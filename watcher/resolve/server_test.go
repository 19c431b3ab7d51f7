package resolve

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// serverDouble is a DNS server, on UDP and TCP of loopback, that says what the test
// wrote into its zone.
type serverDouble struct {
	t    *testing.T
	addr string

	mu   sync.Mutex
	zone map[string]entry
	// asked counts the questions by network, name and type: "udp a.test. AAAA".
	asked map[string]int
}

// entry is what the server says of a name.
type entry struct {
	addrs []string
	ttl   uint32
	// alias is the name whose addresses these are, for aliasTTL.
	alias    string
	aliasTTL uint32
	// fail4 and fail6 are for the questions of one family.
	fail4, fail6 dnsmessage.RCode
	// cut answers over UDP that the rest is to be had over TCP, silent never.
	cut, silent bool
	// forged sends, before the answer, one of somebody who guesses.
	forged bool
}

func serve(t *testing.T) *serverDouble {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	for udp == nil { // until a port is free in both
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err != nil {
			tcp.Close()
		}
	}
	s := &serverDouble{t: t, addr: tcp.Addr().String(), zone: map[string]entry{}, asked: map[string]int{}}
	var running sync.WaitGroup
	running.Go(func() { s.serveUDP(udp) })
	running.Go(func() { s.serveTCP(tcp) })
	t.Cleanup(func() {
		tcp.Close()
		udp.Close()
		running.Wait()
	})
	return s
}

// set makes the server say this of a name.
func (s *serverDouble) set(name string, e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name+"."] = e
}

// count returns how often a question was asked: "udp a.test. AAAA".
func (s *serverDouble) count(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[question]
}

func (s *serverDouble) serveUDP(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		for _, msg := range s.answers("udp", buf[:n]) {
			_, _ = c.WriteTo(msg, from)
		}
	}
}

func (s *serverDouble) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err == nil {
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, query); err == nil {
				for _, msg := range s.answers("tcp", query) {
					// In two parts: a stream need not keep a message together.
					whole := append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
					_, _ = c.Write(whole[:1])
					_, _ = c.Write(whole[1:])
				}
			}
		}
		c.Close()
	}
}

// answers returns the messages that answer a query.
func (s *serverDouble) answers(network string, query []byte) [][]byte {
	var q dnsmessage.Message
	if err := q.Unpack(query); err != nil || len(q.Questions) != 1 {
		s.t.Errorf("a query that is none: %v", err)
		return nil
	}
	question := q.Questions[0]
	kind := strings.TrimPrefix(question.Type.String(), "Type")
	name := question.Name.String()
	s.mu.Lock()
	e, known := s.zone[strings.ToLower(name)]
	s.asked[network+" "+name+" "+kind]++
	s.mu.Unlock()
	if e.silent {
		return nil
	}
	r := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true},
		Questions: q.Questions,
	}
	switch {
	case !known:
		r.RCode = dnsmessage.RCodeNameError
	case kind == "A":
		r.RCode = e.fail4
	case kind == "AAAA":
		r.RCode = e.fail6
	}
	if r.RCode == dnsmessage.RCodeSuccess {
		r.Answers = e.records(question)
	}
	if network == "udp" && e.cut {
		r.Truncated, r.RCode, r.Answers = true, dnsmessage.RCodeSuccess, nil
	}
	out := [][]byte{s.pack(r)}
	if e.forged {
		r.ID++
		r.Answers = entry{addrs: []string{"6.6.6.6", "66::6"}, ttl: 1}.records(question)
		out = append([][]byte{s.pack(r)}, out...)
	}
	return out
}

func (s *serverDouble) pack(m dnsmessage.Message) []byte {
	out, err := m.Pack()
	if err != nil {
		s.t.Errorf("pack: %v", err)
	}
	return out
}

// records are the answers to a question.
func (e entry) records(q dnsmessage.Question) (out []dnsmessage.Resource) {
	owner := q.Name
	if e.alias != "" {
		owner = dnsmessage.MustNewName(e.alias + ".")
		out = append(out, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: e.aliasTTL},
			Body:   &dnsmessage.CNAMEResource{CNAME: owner},
		})
	}
	for _, text := range e.addrs {
		ip := netip.MustParseAddr(text)
		h := dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: e.ttl}
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: ip.As4()}})
		case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
			out = append(out, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	return out
}
