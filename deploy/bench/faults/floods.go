package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"usher/deploy/bench/internal/programs"
	"usher/proxy/proxytest/flood"
)

// flooded is a fault: connections flood the proxy, one after the other, while others ask
// it over TLS.
func flooded(name, kind string) fault {
	return fault{
		name: name, what: "a flood, " + kind, flood: kind, rate: 1000, lasts: 10 * time.Second,
		script: func(ctx context.Context, s *stage) error { return s.flood(ctx, kind) },
	}
}

// newLoad is a load on the proxy, over TLS if it is flooded.
func (s *stage) newLoad(f fault, rate int, timeout time.Duration) (*load, error) {
	l := newLoad(s.set.Listen, f, rate, timeout)
	if f.flood == "" {
		return l, nil
	}
	pool, err := programs.Pool(s.dir)
	if err != nil {
		return nil, err
	}
	l.addr, l.tls = s.set.Secure, &tls.Config{RootCAs: pool, ServerName: host}
	return l, nil
}

// flood floods the proxy for six seconds and notes what became of the connections. The
// next one comes a tenth of a second after the end of the one before, so that the machine's
// cores are not what others wait for.
func (s *stage) flood(ctx context.Context, name string) error {
	pool, err := programs.Pool(s.dir)
	if err != nil {
		return err
	}
	if err := s.at(ctx, warm); err != nil {
		return err
	}
	s.mark()
	ctx, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	ended, megabytes, last := 0, int64(0), time.Duration(0)
	for _, kind := range flood.Kinds() {
		for kind.Name == name && ctx.Err() == nil {
			dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: host, NextProtos: []string{"h2"}}}
			conn, err := dialer.DialContext(ctx, "tcp", s.set.Secure)
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				return fmt.Errorf("flood: %w", err)
			}
			res := kind.Run(ctx, conn)
			megabytes += res.Bytes >> 20
			if last = res.Took; res.Ended {
				ended++
			}
			_ = pause(ctx, 100*time.Millisecond) // what ends it ends the flood
		}
	}
	s.note = fmt.Sprintf("%d connections ended, %d MB taken", ended, megabytes)
	if last > 5*time.Second {
		s.note = fmt.Sprintf("a connection not ended in %.1f s, %d MB taken", last.Seconds(), megabytes)
	}
	return nil
}
