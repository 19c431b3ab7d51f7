package h2

import (
	"runtime"

	"golang.org/x/net/http2"
)

// spareLimit is how large a buffer is kept for what is sent next.
const spareLimit = 64 << 10

// wake has what waits sent, with s.mu held.
func (s *Session) wake() {
	if s.writing {
		return
	}
	s.writing = true
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// write sends what waits, until the session has ended. First it lets those run who are
// about to add something: what they have leaves in the same write.
func (s *Session) write() {
	defer s.stopped()
	for range s.work {
		runtime.Gosched()
		for {
			b, last := s.takeOut()
			if len(b) == 0 && !last {
				break
			}
			if len(b) > 0 {
				if _, err := s.conn.Write(b); err != nil {
					s.fail(err)
					return
				}
			}
			if last {
				_ = s.conn.Close() // TLS says goodbye; the deadline bounds it
				s.fail(errEnded)
				return
			}
			s.reuse(b)
		}
	}
}

// takeOut returns what waits, and whether it is the last; nothing and false leave the
// goroutine to be woken. Those who wait for room go on meanwhile.
func (s *Session) takeOut() (b []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last = s.failure != nil
	if len(s.out) == 0 {
		s.writing = last
		return nil, last
	}
	b = s.out
	s.out, s.spare = s.spare[:0], nil
	s.feed()
	return b, last
}

// reuse takes the buffer back of what was sent, unless it is larger than mostly needed.
func (s *Session) reuse(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(b) <= spareLimit || len(b) > spareLimit/2 && cap(b) <= 2*outLimit {
		s.spare = b[:0]
	}
}

// control checks that answers to the endpoint do not heap up, with s.mu held.
func (s *Session) control() error {
	if len(s.out) > 2*outLimit {
		return &violation{http2.ErrCodeEnhanceYourCalm, "it asks and does not take the answers"}
	}
	return nil
}
