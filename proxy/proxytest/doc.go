// Package proxytest lets the tests of proxy start one on free ports, with a table
// made by hand, between raw clients and raw origins that record each byte.
//
// Everything started here ends with the test, in the reverse order. Failures are
// reported to the test that started it; what runs in other goroutines uses Errorf
// alone.
package proxytest
