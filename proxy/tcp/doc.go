// Package tcp serves connections that are carried as they are: those of a tcp listener, to
// where its port leads, and TLS connections, to where the name that their client asks for
// leads.
//
// The core is that of requests: it matches, picks, counts and retries, here until a
// connection to an endpoint is there; nothing has been sent then. From there on the
// connection is a tunnel.
//
// Goroutines: one for each connection, which becomes one of the two of its tunnel.
// Deadlines are the sweeper's, but for that of the first bytes of TLS.
package tcp
