// Package acmetest runs a real ACME server, pebble, for the tests of any package.
//
//	func TestSomething(t *testing.T) {
//		ca := acmetest.Start(t, acmetest.Options{HTTPPort: port})
//		use(ca.Directory, ca.CAFile)
//		if ca.Orders() != 1 { … }
//	}
//
// Every name is taken for 127.0.0.1's, and is validated at the ports that Options name: a
// usher's own. One nonce in twenty is refused, as pebble does by itself.
//
// The programs are pebble, which USHER_TEST_PEBBLE names, else pebble on PATH, else what
// `make pebble` built, and pebble-challtestsrv in the same folder. With -short the test is
// skipped, without the programs it fails. Both end with the test, also when it panics.
package acmetest
