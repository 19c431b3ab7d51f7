package core

import "usher/proxy/wire"

// Arrival is a client's connection that its listener has admitted. Whoever serves it calls
// Leave once, when it has ended.
type Arrival struct {
	*wire.Client
	Peer     Peer
	listener *Listener
}

// Admit counts a connection. One beyond one of the limits is closed at once, and nil
// returned: there is nothing to say that would not cost more than it helps.
func (l *Listener) Admit(c *wire.Client) *Arrival {
	a := &Arrival{Client: c, Peer: l.NewPeer(c.Remote, c.Local), listener: l}
	a.Peer.Taken = c.Taken
	if l.Enter(&a.Peer) != Admitted {
		_ = c.TCP.Close()
		return nil
	}
	return a
}

// Leave ends what Admit began.
func (a *Arrival) Leave() { a.listener.Leave(&a.Peer) }
