package accesslog

import (
	"testing"

	"usher/config"
)

// ordinary is the entry of an ordinary request.
func ordinary() *Entry {
	e := example()
	e.Target, e.Scheme, e.Protocol = []byte("/a/b?page=2&sort=name"), "http", "HTTP/1.1"
	e.TLS, e.Retries, e.Hedged = nil, 0, false
	e.Reason, e.Failed, e.Status, e.GRPC, e.RequestID, e.Trace = "", false, 200, 0, nil, [16]byte{}
	return e
}

func formats() map[string]config.AccessLog {
	return map[string]config.AccessLog{
		"json":     {Format: config.AccessJSON},
		"combined": {Format: config.AccessCombined},
		"template": {Format: config.AccessTemplate, Template: `$time $client_ip "$method $target" $status $duration`},
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, c := range formats() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n, e := &encoder{program: newProgram(c)}, ordinary()
			line := n.line(nil, e)
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				e.Start += 1e6
				line = n.line(line[:0], e)
			}
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	s, e := begin(b, "/dev/null", nil), ordinary()
	for b.Loop() {
		s.Add(e)
	}
}

// An entry costs no allocation, with a query to be looked at and a secret in it.
func TestAllocations(t *testing.T) {
	for name, c := range formats() {
		n, e := &encoder{program: newProgram(c)}, ordinary()
		for _, target := range []string{"/", "/a?page=2&sort=name", "/a?access_token=x&To%6ben=y&q=%41"} {
			e.Target = []byte(target)
			line := n.line(make([]byte, 0, 4096), e)
			if got := testing.AllocsPerRun(100, func() { line = n.line(line[:0], e) }); got != 0 {
				t.Errorf("%s, %s: %v allocations", name, target, got)
			}
		}
	}
}
