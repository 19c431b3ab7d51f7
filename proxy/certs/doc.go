// Package certs holds the certificates that clients are met with, and makes the TLS
// configuration of each listener.
//
// A source (a file, a folder, a prefix of a key-value store) says what certificates there
// are. The Manager reads the sources, follows their changes, and publishes for each
// listener an immutable index by name; a handshake loads it once and looks into a map,
// however many certificates there are. Session tickets are encrypted with keys of the
// Manager's own, the same for all listeners and all configurations, so that neither a
// reload nor a restart of a listener ends resumption.
//
// Invariants: a certificate that cannot be used is refused alone, and the last good
// version of it stays; an error of a source removes nothing; a handshake never waits for
// a file, a registry or a responder.
//
// The Manager's goroutines follow files, follow the key-value store, change the ticket
// keys, and ask OCSP responders; Close ends them and waits. Everything else is done by
// whoever calls.
package certs
