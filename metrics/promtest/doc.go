// Package promtest runs a real Prometheus and promtool, for the tests of any package.
//
//	func TestSomething(t *testing.T) {
//		p := promtest.Start(t, address, promtest.Options{RuleFiles: []string{"rules.yaml"}})
//		if v := p.Query("usher_ready"); len(v) != 1 { … }
//	}
//
// The programs are promtool, which USHER_TEST_PROMTOOL names, else what `make promtool`
// built, and prometheus in the same folder. With -short the test is skipped, without the
// programs it fails. Both end with the test, also when it panics.
package promtest
