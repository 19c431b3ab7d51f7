package h2

import (
	"bufio"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// streamWindow is how much of a response may come before it is read, and so what a
	// stream may hold; sessionWindow is the same for all streams of a session, though bytes
	// count there only until they have arrived.
	streamWindow  = 256 << 10
	sessionWindow = 4 << 20
	// outLimit is how much waits to be sent before those who send bodies wait.
	outLimit = 256 << 10
	// maxStreams is how many streams a session has at most, whatever the endpoint allows.
	maxStreams = 250
	// maxHead is how long the fields of a response may be.
	maxHead = 16 << 10
	// readBuffer is what the frames are read through.
	readBuffer = 32 << 10
)

// Owner is told of a session's changes, by whatever goroutine makes them. It may call the
// session.
type Owner interface {
	// Freed says that there is room for another stream.
	Freed(s *Session)
	// Ended says that the session has ended. It is the last that the owner hears.
	Ended(s *Session)
}

// Options are how a Session is made.
type Options struct {
	// Conn is the connection, TLS if it is secure, and Socket what is below, whose Close
	// does not wait.
	Conn, Socket net.Conn
	Secure       bool
	// Clock is a time in nanoseconds that is cheap to ask for.
	Clock func() int64
	Owner Owner
}

// Session is one connection to an endpoint. Its methods may be called from any goroutine.
type Session struct {
	conn, socket net.Conn
	secure       bool
	clock        func() int64
	owner        Owner

	// ready is closed when the endpoint has sent its settings, or the session has ended;
	// done when both goroutines have.
	ready, done chan struct{}
	readyOnce   sync.Once
	running     atomic.Int32
	// heard is when the last bytes came, on the clock; suspect says that a stream ran out of
	// time since.
	heard   atomic.Int64
	suspect atomic.Bool
	// work wakes the goroutine that writes.
	work chan struct{}

	reader reader

	mu sync.Mutex
	// out is what waits to be sent, spare the memory of what was before. writing says that
	// the goroutine that writes is awake.
	out, spare []byte
	writing    bool
	// streams are those on the wire by number, and free are some that were used before.
	streams map[uint32]*Stream
	free    []*Stream
	// active counts the streams that are given out and not begun, or on the wire; next is
	// the number of the next one.
	active int
	next   uint32
	// idleSince is when active became 0.
	idleSince int64
	// leaving says that no more streams are given out: the session ends with those it has.
	// gone says that the endpoint takes no more; failure is why it has ended, nil: it has not.
	leaving, gone bool
	failure       error
	// freed says that there may be room that the owner has not been told of.
	freed bool
	// resize says that the next block tells the size of the table.
	resize bool
	ping   pinger
	peer   peer
	// sendWindow is how much data may be sent, starved are the streams that have data and
	// wait for room, first come first.
	sendWindow int64
	starved    []*Stream
}

// peer is what the endpoint has said it takes.
type peer struct {
	maxStreams int
	maxFrame   int
	window     int64
	// floods counts what asks for an answer and carries nothing, since something came or
	// went that is of use.
	floods int
}

// reader belongs to the goroutine that reads.
type reader struct {
	br     *bufio.Reader
	framer *http2.Framer
	hpack  *hpack.Decoder
	block  block
	// received is what has come since the connection's window was opened last; left is what
	// may come.
	received, left int
	// woken are streams to wake before the next wait.
	woken []*Stream
}

// Start begins a session on a connection that nobody else uses any more. What the endpoint
// takes is known when Ready returns.
func Start(o Options) *Session {
	s := &Session{
		conn: o.Conn, socket: o.Socket, secure: o.Secure, clock: o.Clock, owner: o.Owner,
		ready: make(chan struct{}), done: make(chan struct{}), work: make(chan struct{}, 1),
		streams: map[uint32]*Stream{}, next: 1, idleSince: o.Clock(), sendWindow: firstWindow, resize: true,
		peer: peer{maxStreams: maxStreams, maxFrame: leastFrame, window: firstWindow},
	}
	s.heard.Store(o.Clock())
	s.ping.useful = true
	r := &s.reader
	r.br = bufio.NewReaderSize(o.Conn, readBuffer)
	r.framer = http2.NewFramer(nil, r.br)
	r.framer.SetMaxReadFrameSize(leastFrame)
	r.hpack = hpack.NewDecoder(firstTable, r.block.emit)
	r.hpack.SetMaxStringLength(maxHead)
	r.left = sessionWindow
	s.out = append(s.out, http2.ClientPreface...)
	s.out = appendSettings(s.out,
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHead},
	)
	s.out = appendWindowUpdate(s.out, 0, sessionWindow-firstWindow)
	s.writing = true
	s.work <- struct{}{}
	s.running.Store(2)
	go s.read()
	go s.write()
	return s
}

// Ready waits until the endpoint has said what it takes. Otherwise the session has ended:
// the error says why, or is that of ctx.
func (s *Session) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		s.fail(ctx.Err())
		return ctx.Err()
	}
	return s.Err()
}

// Err says why the session has ended, nil: it has not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Done is closed when nothing of the session runs any more.
func (s *Session) Done() <-chan struct{} { return s.done }

// Reserve returns a stream for one request, nil when there is no room. The caller ends it by
// Release or Close.
func (s *Session) Reserve() *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.room() {
		return nil
	}
	s.active++
	n := len(s.free)
	if n == 0 {
		return newStream(s)
	}
	st := s.free[n-1]
	s.free[n-1] = nil
	s.free = s.free[:n-1]
	return st
}

// Room says whether Reserve would return a stream.
func (s *Session) Room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room()
}

func (s *Session) room() bool {
	return !s.leaving && !s.suspect.Load() && s.active < s.peer.maxStreams && s.next < maxStreamID-2*maxStreams
}

// Idle says whether the session carries no request, and since when on its clock.
func (s *Session) Idle() (yes bool, since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active == 0, s.idleSince
}

// Leave gives out no more streams, and ends the session with the last one: at once if there
// is none. It does not wait.
func (s *Session) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
}

func (s *Session) leave() {
	if s.failure != nil {
		return
	}
	s.leaving = true
	if s.active == 0 {
		s.farewell(http2.ErrCodeNo)
		s.wake()
	}
}

// farewellTime bounds the sending of the last frames.
const farewellTime = time.Second

// farewell ends the session once what waits was sent, and GOAWAY behind it.
func (s *Session) farewell(code http2.ErrCode) {
	if s.failure == nil {
		s.failure = errEnded
		s.out = appendGoAway(s.out, code)
		_ = s.conn.SetWriteDeadline(time.Now().Add(farewellTime))
	}
}

// fail ends the session at once, and with it all of its streams.
func (s *Session) fail(err error) {
	s.mu.Lock()
	first := s.failure == nil
	if first {
		s.failure = &lostError{err}
	}
	s.leaving = true
	for _, st := range s.streams {
		st.end(s.failure)
	}
	s.starved = nil
	s.wake()
	s.mu.Unlock()
	_ = s.socket.Close() // whoever waits on it is told so
	s.readyOnce.Do(func() { close(s.ready) })
}

// stopped notes the end of one of the two goroutines.
func (s *Session) stopped() {
	if s.running.Add(-1) == 0 {
		s.owner.Ended(s)
		close(s.done)
	}
}

// vacate gives up the place of a stream, with s.mu held. unlock tells the owner.
func (s *Session) vacate() {
	s.freed = true
	if s.active--; s.active > 0 {
		return
	}
	s.idleSince = s.clock()
	if s.leaving {
		s.leave()
	}
}

// unlock unlocks s.mu, and tells the owner of room there may be since it was locked.
func (s *Session) unlock() {
	freed := s.freed && s.failure == nil
	s.freed = false
	s.mu.Unlock()
	if freed {
		s.owner.Freed(s)
	}
}
