// Package acme obtains and renews certificates by ACME (RFC 8555) and serves them.
//
// certmagic says when a certificate is due, asks for it under a lock and keeps it; acmez
// speaks the protocol. Both are used as libraries alone: nothing of theirs listens, keeps
// the time or is shared by two Managers. A Manager has a goroutine for each name, which
// looks after its certificate every few minutes: it loads what the store has, which
// another usher may have renewed, and obtains or renews what is due. What it finds goes
// into a map behind an atomic pointer, and handshakes look there and nowhere else. So the
// authority, the store and their locks may all be away: certificates in memory are served.
//
// An authority's questions are answered by usher's own listeners: those over HTTP by
// Challenge, those over TLS by GetCertificate. The answers lie in the store, so that
// whichever usher of a fleet is asked can give them.
package acme
