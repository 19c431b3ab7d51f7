package certs

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"sync"
	"time"
)

const (
	// rotateEvery is how long tickets are encrypted with one key.
	rotateEvery = 12 * time.Hour
	// acceptedKeys is how many keys tickets are taken of: the one in use and those before.
	acceptedKeys = 3
)

// tickets encrypts the session tickets of all listeners. The keys are in memory alone and
// end with the process.
type tickets struct {
	// ring holds the keys, and is used for nothing else.
	ring *tls.Config

	mu   sync.Mutex
	keys [][32]byte
}

func newTickets() *tickets {
	t := &tickets{ring: &tls.Config{MinVersion: tls.VersionTLS12}}
	t.rotate()
	return t
}

// rotate begins to use a new key.
func (t *tickets) rotate() {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = append([][32]byte{key}, t.keys[:min(len(t.keys), acceptedKeys-1)]...)
	t.ring.SetSessionTicketKeys(t.keys)
}

// run changes the keys until ctx ends.
func (t *tickets) run(ctx context.Context) {
	every := time.NewTicker(rotateEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			t.rotate()
		case <-ctx.Done():
			return
		}
	}
}

// serve makes the sessions of a configuration those of the ring: unlike keys that are set
// in it they go with its clones, and reach those that are in use already.
func (t *tickets) serve(c *tls.Config) {
	c.WrapSession, c.UnwrapSession = t.ring.EncryptTicket, t.ring.DecryptTicket
}
