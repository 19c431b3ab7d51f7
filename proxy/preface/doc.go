// Package preface knows what may stand in front of what a connection carries: the PROXY
// header, by which a proxy tells whom a connection is for, and the ClientHello that begins
// TLS, which says for whom it is.
//
// What is read of a client lands in its Early and stays there, but for a PROXY header,
// which is taken off. Nothing is guessed: a beginning that is neither whole nor hopeless
// is waited for, within a number of bytes and the deadline that the caller has set.
//
// It has no goroutine; the one that owns the client calls.
package preface
