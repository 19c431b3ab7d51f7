package forward

import (
	"strconv"

	"usher/config"
	"usher/proxy/core"
	"usher/proxy/wire"
)

// answerGRPC answers a call in usher's name, as its client expects it: the status of HTTP
// is 200, that of gRPC is in the head, and there is nothing behind it (Trailers-Only, see
// github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
func (t *Trip) answerGRPC(reason core.Reason, text string) error {
	t.Sent = 200
	out := appendStatusLine(t.Out[:0], t.Sent, nil)
	out = append(out, "Content-Type: application/grpc\r\n"...)
	t.Out = appendGRPCStatus(out, t.X.GRPCStatus(reason), reason, text)
	return t.writeOwn(nil, reason)
}

// appendGRPCStatus appends the fields that say why a call failed.
func appendGRPCStatus(dst []byte, status config.GRPCStatus, reason core.Reason, text string) []byte {
	dst = strconv.AppendInt(append(dst, "grpc-status: "...), int64(status), 10)
	dst = appendGRPCMessage(append(dst, "\r\ngrpc-message: "...), text)
	dst = append(append(dst, "\r\nx-usher-reason: "...), reason.String()...)
	return append(dst, "\r\n"...)
}

// appendGRPCMessage appends the value of a grpc-message: what is not visible ASCII or a
// space is percent-encoded, and so is the percent sign.
func appendGRPCMessage(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c <= '~' && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// replied tells the core what the head of the response to a call says of its end.
func (t *Trip) replied() { t.X.Replied(t.upHead.Has(wire.HasGRPC), t.upHead.GRPCStatus) }

// concluded tells the core how the endpoint has ended its response to a call; trailers are
// the lines behind the body.
func (t *Trip) concluded(trailers []byte) {
	if t.X.GRPC() {
		t.forwarder.Core.Concluded(&t.X, wire.GRPCStatus(trailers))
	}
}

// cutGRPC ends a call whose response was cut on the endpoint's side with a status of
// usher's own, where there is a way to say it: what was sent is whole messages and perhaps
// a part of one, which is no use to a client that reads the status. It says whether the
// client has that.
func (t *Trip) cutGRPC(a *core.Attempt, reason core.Reason, to Framing) bool {
	if !t.X.GRPC() || !t.upHead.Has(wire.HasGRPC) || to != ByChunks || reason == core.ClientGone {
		return false
	}
	text := reason.String()
	if why := t.X.Why(reason); why != "" {
		text += ": " + why
	}
	t.Out = t.client.AppendEnd(t.Out, appendGRPCStatus(nil, t.X.GRPCStatus(reason), reason, text), to)
	t.watch.Arm(after(t.now(), a.Policy.IdleTimeout)) // the request's own deadline may be over
	return t.client.Write(t.Out, true) == nil
}
