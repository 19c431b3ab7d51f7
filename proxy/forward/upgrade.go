package forward

import (
	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// AppendUpgrade asks the endpoint for the protocol the client asks for, or tells the
// client that it has it.
func (t *Trip) AppendUpgrade(dst []byte) []byte {
	dst = append(append(dst, "Connection: Upgrade\r\nUpgrade: "...), t.Upgrade...)
	return append(dst, "\r\n"...)
}

// agreed says whether the response, a 101, is to the protocol that was asked for.
func (t *Trip) agreed() bool {
	count, same := 0, false
	for _, v := range t.resp.PeekAll(fasthttp.HeaderUpgrade) {
		wire.Tokens(v, func(b []byte) {
			count++
			same = len(b) == len(t.Upgrade) && equalFold(b, t.Upgrade)
		})
	}
	return count == 1 && same
}

// Switch passes the endpoint's 101 on, and returns the connection to it: what it carries
// from now on is the caller's, and so is the end of the exchange. nil: the client has left,
// and the request is recorded.
func (t *Trip) Switch(a *core.Attempt) *upstream.Conn {
	t.tellAnswered()
	t.Sent = fasthttp.StatusSwitchingProtocols
	t.Out = t.AppendUpgrade(t.appendHead(t.Out[:0], ByClose))
	t.Out = append(t.Out, "\r\n"...)
	// What the endpoint has sent along goes out first, in one write with the head.
	early, _ := t.up.Reader.Peek(t.up.Reader.Buffered())
	t.Out = append(t.Out, early...)
	t.X.Sent += uint64(len(early))
	if reason := t.flush(a, t.answered, false); reason != core.None || !t.drop() {
		t.finishUpstream(false)
		t.end(core.ClientGone)
		return nil
	}
	t.watch.Arm(0)
	t.up.Watch.Arm(0)
	up := t.up
	t.up, t.Serving = nil, false
	return up
}
