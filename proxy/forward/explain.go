package forward

import (
	"errors"

	"usher/proxy/core"
	"usher/proxy/wire"
	"usher/routetable"
)

// Explain says what would become of a request with this head, a whole one of HTTP/1.1,
// that comes from a client, by a table that need not be in use. It goes the way that a
// request goes, and nothing is sent for it. Any goroutine may call it.
func (f *Forwarder) Explain(head []byte, peer *core.Peer, table *routetable.Table) *core.Explained {
	t := &Trip{Wrote: head}
	t.Init()
	t.Begin(f, nil, &Hold{}, &wire.Watch{})
	t.X.Peer = peer
	t.Head.Reset()
	if err := t.Head.ScanRequest(head); err != nil || len(head) > readBuffer {
		return refusedHead(err)
	}
	if reason, why := t.Take(); reason != core.None {
		return &core.Explained{Reason: reason, Why: why}
	}
	if t.Body.Asterisk {
		return &core.Explained{
			Reason: core.Answered, Own: core.Own{Status: 200}, Why: "it asks about usher itself",
		}
	}
	x := f.Core.Explain(&t.X, table, t.between)
	if x.Reason != core.None {
		return x
	}
	if !t.copiesHead() {
		t.X.Parsed()
	}
	if t.Malformed != nil {
		x.Reason, x.Why = core.BadRequest, "malformed head"
		return x
	}
	x.Head = t.appendRequest(nil, x.Attempt)
	return x
}

// between is what an adapter does between Begin and Next, as far as the head decides it.
func (t *Trip) between() core.Reason {
	if t.X.Head == nil {
		t.Malformed = nil // it was read for the explanation alone
	}
	if t.Malformed != nil {
		return core.BadRequest
	}
	if limit := int64(t.X.Listener.MaxBodySize); limit > 0 && t.Head.ContentLength > limit {
		return core.BodyTooLarge
	}
	t.X.Replayable, t.X.Streams = !t.Head.Chunked, t.Head.Chunked
	if t.Head.Has(wire.HasUpgrade) && t.Head.Minor == 1 && !t.Head.Chunked {
		t.Upgrade = t.forwarder.Core.Upgrade(&t.X, t.Upgrade[:0])
	}
	return core.None
}

// refusedHead is what becomes of a head that could not be read; nil: it is too large.
func refusedHead(err error) *core.Explained {
	var r *wire.Refused
	switch {
	case err == nil:
		return &core.Explained{Reason: core.HeadTooLarge, Why: "the request's head is larger than 16 KiB"}
	case errors.As(err, &r):
		return &core.Explained{Reason: core.RefusalReason(r.Status), Why: r.Why}
	default:
		return &core.Explained{Reason: core.BadRequest, Why: err.Error()}
	}
}
