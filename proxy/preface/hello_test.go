package preface

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// recorded is a net.Conn that notes what is written and reads what it is given.
type recorded struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (r *recorded) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r *recorded) Write(p []byte) (int, error) { return r.out.Write(p) }
func (*recorded) Close() error                  { return nil }

// helloOf is the ClientHello that crypto/tls sends.
func helloOf(cfg *tls.Config) []byte {
	r := &recorded{in: strings.NewReader("")}
	_ = tls.Client(r, cfg).Handshake() // it ends at once, for want of an answer
	return r.out.Bytes()
}

// inRecords puts a handshake message into records of a size.
func inRecords(hello []byte, size int) []byte {
	var out []byte
	for message := hello[5:]; len(message) > 0; {
		n := min(size, len(message))
		out = append(out, recordHandshake, 3, 1)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, message[:n]...)
		message = message[n:]
	}
	return out
}

// asked is the name that crypto/tls finds in a ClientHello; ok says that it takes it.
func asked(hello []byte) (name string, ok bool) {
	stop := errors.New("stop")
	cfg := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, ok = h.ServerName, true
		return nil, stop
	}}
	_ = tls.Server(&recorded{in: bytes.NewReader(hello)}, cfg).Handshake()
	return name, ok
}

func TestPeekHello(t *testing.T) {
	long := strings.Repeat("a.", 120) + "com"
	for _, name := range []string{"a.example.com", "UPPER.Example.COM", "xn--bcher-kva.example", long, ""} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			hello := helloOf(&tls.Config{
				ServerName: name, InsecureSkipVerify: name == "", //nolint:gosec // nothing is spoken to
				MaxVersion: version, NextProtos: []string{"h2", "x"},
			})
			for _, form := range [][]byte{hello, inRecords(hello, 7), inRecords(hello, 300)} {
				c := sent(t, string(form)+"more", len(form) < 1000)
				got, err := PeekHello(c)
				if err != nil || string(got) != strings.ToLower(name) {
					t.Errorf("got %q, %v, want %q", got, err, name)
				}
				rest, _ := io.ReadAll(c.TCP)
				if all := string(c.Early) + string(rest); all != string(form)+"more" {
					t.Errorf("%d bytes are left of %d", len(all), len(form)+4)
				}
			}
		}
	}
}

func TestNotTLS(t *testing.T) {
	hello := helloOf(&tls.Config{ServerName: "a.com", MinVersion: tls.VersionTLS12})
	broken := bytes.Replace(hello, []byte("\x00\x00\x00\x0a\x00\x08\x00\x00\x05a.com"),
		[]byte("\x00\x00\x00\x0a\x00\x08\x00\x00\x09a.com"), 1)
	if bytes.Equal(broken, hello) {
		t.Fatal("the name was not found")
	}
	for name, b := range map[string][]byte{
		"HTTP":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"PROXY":            []byte("PROXY UNKNOWN\r\n"),
		"another record":   []byte("\x17\x03\x03\x00\x01x"),
		"another message":  []byte("\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
		"an empty record":  []byte("\x16\x03\x01\x00\x00"),
		"a long record":    []byte("\x16\x03\x01\xff\xff"),
		"SSL 2":            []byte("\x80\x2e\x01\x00\x02"),
		"a name too long":  broken,
		"an empty message": []byte("\x16\x03\x01\x00\x04\x01\x00\x00\x00"),
	} {
		c := sent(t, string(b), false)
		if got, err := PeekHello(c); !errors.Is(err, ErrNotTLS) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestHelloTooLong(t *testing.T) {
	claims := []byte("\x16\x03\x01\x40\x00\x01\xff\xff\xff")
	if _, err := serverName(append(claims, make([]byte, maxRecord)...)); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
	// Or it is drawn out: a byte in each record.
	hello := helloOf(&tls.Config{ServerName: "a.com", NextProtos: many(), MinVersion: tls.VersionTLS12})
	c := sent(t, string(inRecords(hello, 1)), false)
	if _, err := PeekHello(c); !errors.Is(err, ErrTooLong) {
		t.Errorf("%d bytes: got %v", len(inRecords(hello, 1)), err)
	}
}

// many are so many protocols that a ClientHello is long.
func many() (list []string) {
	for i := range 40 {
		list = append(list, strings.Repeat(string(rune('a'+i%26)), 200))
	}
	return list
}

// A ClientHello that crypto/tls takes asks for the name that it finds; of a part of one
// nothing is said that the whole does not say.
func FuzzServerName(f *testing.F) {
	for _, name := range []string{"a.example.com", "B.c", ""} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			hello := helloOf(&tls.Config{
				ServerName: name, InsecureSkipVerify: name == "", //nolint:gosec // nothing is spoken to
				MaxVersion: version,
			})
			f.Add(hello)
			f.Add(inRecords(hello, 50))
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := serverName(b)
		if want, ok := asked(b); ok && (err != nil || string(got) != strings.ToLower(want)) {
			t.Fatalf("got %q, %v, crypto/tls finds %q", got, err, want)
		}
		if cut := len(b) / 2; cut > 0 {
			part, e := serverName(b[:cut])
			if !errors.Is(e, errMore) && (!errors.Is(err, e) || !bytes.Equal(part, got)) {
				t.Fatalf("a part: %q, %v; the whole: %q, %v", part, e, got, err)
			}
		}
	})
}
