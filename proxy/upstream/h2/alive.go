package h2

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2"
)

const (
	// silence is for how long nothing may come while streams wait before the endpoint is
	// asked whether it is there, and pingTime how long it has to answer.
	silence  = 15 * time.Second
	pingTime = 10 * time.Second
	// pingEvery is how often it is asked while it sends nothing of a response: servers of
	// gRPC end sessions that ask more often than every 5 minutes.
	pingEvery = 5*time.Minute + 10*time.Second
	// doubtful is the silence after which a stream that runs out of time makes the whole
	// session suspect.
	doubtful = time.Second
	// lingerTime is how long a stream whose response was read whole waits for the end that
	// says so.
	lingerTime = 2 * time.Second
)

// pinger is how the session asks whether the endpoint is there.
type pinger struct {
	// sent is when the PING left that was not answered, 0: there is none; last is when any
	// did, count how many did.
	sent, last int64
	count      uint64
	// useful says that something of a response has come since.
	useful bool
}

func (p *pinger) data() (b [8]byte) {
	binary.BigEndian.PutUint64(b[:], p.count)
	return b
}

// hear notes that something has come.
func (s *Session) hear() {
	s.heard.Store(s.clock())
	if s.suspect.Swap(false) {
		s.owner.Freed(s)
	}
}

// Check looks after the session: it ends one whose endpoint is silent, and streams that do
// not end. The owner calls it about every second.
func (s *Session) Check(now int64) {
	s.mu.Lock()
	dead := s.ping.sent > 0 && now-s.ping.sent >= int64(pingTime)
	if !dead && len(s.streams) > 0 && now-s.heard.Load() >= int64(silence) {
		s.ask(now)
	}
	s.expireLingering(now)
	if s.active == 0 && len(s.out) == 0 {
		s.out, s.spare, s.free = nil, nil, nil // an idle session holds little
	}
	s.unlock()
	if dead {
		s.fail(ErrSilent)
	}
}

// ask sends a PING, if one may be, with s.mu held.
func (s *Session) ask(now int64) (asked bool) {
	p := &s.ping
	if p.sent > 0 || s.failure != nil || !p.useful && now-p.last < int64(pingEvery) {
		return p.sent > 0
	}
	p.sent, p.last, p.useful = now, now, false
	p.count++
	s.out = appendPing(s.out, 0, p.data())
	s.wake()
	return true
}

// doubt is called when a stream has run out of time, with s.mu held: if nothing at all has
// come since it was sent, new requests go elsewhere until something does.
func (s *Session) doubt(st *Stream) {
	now, heard := s.clock(), s.heard.Load()
	if st.id == 0 || heard > st.sent || now-heard < int64(doubtful) {
		return
	}
	s.suspect.Store(true)
	if !s.ask(now) {
		s.leave()
	}
}

// expireLingering ends the streams that their owners have left and the endpoint has not,
// with s.mu held.
func (s *Session) expireLingering(now int64) {
	for _, st := range s.streams {
		if st.lingers > 0 && now-st.lingers >= int64(lingerTime) {
			st.cancel(http2.ErrCodeCancel)
		}
	}
}
