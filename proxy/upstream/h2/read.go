package h2

import (
	"errors"
	"io"

	"golang.org/x/net/http2"
)

// maxFloods is how many frames that ask for an answer, or carry nothing, may come in a row
// with nothing useful in between.
const maxFloods = 1000

// read reads frames until the session has ended.
func (s *Session) read() {
	defer s.stopped()
	err := s.preface()
	for err == nil {
		err = s.frame()
	}
	s.wakeStreams()
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	var v *violation
	if !errors.As(err, &v) {
		s.fail(err)
		return
	}
	s.condemn(err, v.code)
}

// condemn ends the session for what the endpoint has done, and tells it.
func (s *Session) condemn(err error, code http2.ErrCode) {
	s.mu.Lock()
	s.leaving = true
	s.farewell(code)
	s.failure = &lostError{err}
	for _, st := range s.streams {
		st.end(s.failure)
	}
	s.starved = nil
	s.wake()
	s.mu.Unlock()
	s.readyOnce.Do(func() { close(s.ready) })
}

// fill waits until n bytes are at hand. Before that those are woken who have been given
// something: by then it is as much as came.
func (s *Session) fill(n int) error {
	r := &s.reader
	if r.br.Buffered() >= n {
		return nil
	}
	s.wakeStreams()
	if _, err := r.br.Peek(n); err != nil {
		return err
	}
	s.hear()
	return nil
}

// wakeStreams wakes those who have been given something.
func (s *Session) wakeStreams() {
	r := &s.reader
	if len(r.woken) == 0 {
		return
	}
	s.mu.Lock()
	for i, st := range r.woken {
		st.due = false
		st.readable.Signal()
		r.woken[i] = nil
	}
	s.mu.Unlock()
	r.woken = r.woken[:0]
}

// give notes that a stream has something to read, with s.mu held.
func (s *Session) give(st *Stream) {
	if !st.due {
		st.due = true
		s.reader.woken = append(s.reader.woken, st)
	}
}

// header reads the header of a frame.
func (s *Session) header() (fh http2.FrameHeader, err error) {
	if err = s.fill(frameHeader); err != nil {
		return fh, err
	}
	if fh, err = s.reader.framer.ReadFrameHeader(); err != nil {
		err = s.explain(err)
	}
	return fh, err
}

// explain makes what the Framer says about a frame a violation.
func (s *Session) explain(err error) error {
	var code http2.ConnectionError
	switch {
	case errors.As(err, &code):
		why := "a malformed frame"
		if detail := s.reader.framer.ErrorDetail(); detail != nil {
			why = detail.Error()
		}
		return &violation{http2.ErrCode(code), why}
	case errors.Is(err, http2.ErrFrameTooLarge):
		return &violation{http2.ErrCodeFrameSize, err.Error()}
	default:
		return err
	}
}

// preface reads the first frame, which has the settings (RFC 9113 §3.4).
func (s *Session) preface() error {
	fh, err := s.header()
	if err != nil {
		return err
	}
	if fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck) {
		return protocol("it does not begin with its settings")
	}
	if err := s.other(fh); err != nil {
		return err
	}
	s.readyOnce.Do(func() { close(s.ready) })
	return nil
}

// frame reads a frame and does what it says.
func (s *Session) frame() error {
	fh, err := s.header()
	if err != nil {
		return err
	}
	switch fh.Type {
	case http2.FrameData:
		return s.data(fh)
	case http2.FrameHeaders:
		return s.headers(fh)
	case http2.FramePushPromise:
		return protocol("it pushes")
	default:
		return s.other(fh)
	}
}

// other reads a frame that carries nothing of a message.
func (s *Session) other(fh http2.FrameHeader) error {
	if err := s.fill(min(int(fh.Length), readBuffer)); err != nil {
		return err
	}
	frame, err := s.reader.framer.ReadFrameForHeader(fh)
	var wrong http2.StreamError
	if errors.As(err, &wrong) {
		return s.wrong(wrong)
	}
	if err != nil {
		return s.explain(err)
	}
	s.mu.Lock()
	defer s.unlock()
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return s.settings(f)
	case *http2.PingFrame:
		return s.pinged(f)
	case *http2.WindowUpdateFrame:
		return s.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return s.reset(f)
	case *http2.GoAwayFrame:
		return s.goAway(f)
	default:
		return nil // unknown ones are for others (RFC 9113 §5.5)
	}
}

// wrong ends a stream that one of its frames is wrong for.
func (s *Session) wrong(e http2.StreamError) error {
	s.mu.Lock()
	defer s.unlock()
	if s.never(e.StreamID) {
		return protocol("a frame on a stream that was not begun")
	}
	if st := s.streams[e.StreamID]; st != nil {
		st.malformed(e.Code, "a malformed frame")
	}
	return nil
}

// never says whether a stream was never begun, with s.mu held.
func (s *Session) never(id uint32) bool { return id%2 == 0 || id >= s.next }

// flood counts a frame that is of no use by itself, with s.mu held.
func (s *Session) flood() error {
	if s.peer.floods++; s.peer.floods > maxFloods {
		return &violation{http2.ErrCodeEnhanceYourCalm, "a flood of frames that carry nothing"}
	}
	return s.control()
}

func (s *Session) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if err := s.flood(); err != nil {
		return err
	}
	if err := f.ForeachSetting(s.setting); err != nil {
		return err
	}
	s.out = appendFrame(s.out, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	s.wake()
	return nil
}

// setting takes one setting of the endpoint.
func (s *Session) setting(v http2.Setting) error {
	if err := v.Valid(); err != nil {
		return s.explain(err)
	}
	switch v.ID {
	case http2.SettingMaxConcurrentStreams:
		s.peer.maxStreams = int(min(v.Val, maxStreams))
		s.freed = true
	case http2.SettingMaxFrameSize:
		s.peer.maxFrame = min(int(v.Val), outLimit/4)
	case http2.SettingHeaderTableSize:
		s.resize = true
	case http2.SettingInitialWindowSize:
		return s.initialWindow(int64(v.Val))
	}
	return nil
}

func (s *Session) pinged(f *http2.PingFrame) error {
	if f.IsAck() {
		if f.Data == s.ping.data() {
			s.ping.sent = 0
		}
		return nil
	}
	if err := s.flood(); err != nil {
		return err
	}
	s.out = appendPing(s.out, http2.FlagPingAck, f.Data)
	s.wake()
	return nil
}

func (s *Session) reset(f *http2.RSTStreamFrame) error {
	if s.never(f.StreamID) {
		return protocol("RST_STREAM for a stream that was not begun")
	}
	if st := s.streams[f.StreamID]; st != nil {
		st.resetBy(f.ErrCode)
	}
	return nil
}

// goAway begins no more streams. Those that the endpoint has not taken are sent elsewhere
// (RFC 9113 §6.8).
func (s *Session) goAway(f *http2.GoAwayFrame) error {
	s.leaving, s.gone = true, true
	for id, st := range s.streams {
		if id > f.LastStreamID {
			st.end(ErrUnsent)
		}
	}
	if s.active == 0 {
		s.leave()
	}
	return nil
}
