// Package consultest runs real Consul agents for the tests of any package.
//
//	func TestSomething(t *testing.T) {
//		agent := consultest.Start(t)
//		agent.Register(api.AgentServiceRegistration{
//			Name: "orders", Address: "127.0.0.1", Port: 9001, Tags: []string{"urlprefix-/orders"},
//			Check: consultest.TTL(api.HealthPassing),
//		})
//		use(agent.Addr())
//		consultest.Eventually(t, "the route is there", func() bool { … })
//		agent.Critical("orders") // then Warn, Pass, Maintenance, Deregister, …
//		agent.Kill()             // then Restart; or Stop, Pause and Resume, RestartEmpty
//	}
//
// Start returns when the agent has a leader and its own node is in the catalog. An
// agent is a server of its own datacenter unless [Join] makes it the client of
// another one; it keeps its data through a restart. [StartCluster] starts three servers
// that elect a leader; a client of theirs is Start(t, Join(cluster.Servers...)). [ACL], [TLS], [Config] and the
// other options change it. The ports are free ones, so tests may run in parallel.
//
// The program is the one that USHER_TEST_CONSUL names, else consul on PATH, else
// what `make consul` built. With -short the test is skipped, without a program it
// fails. An agent ends with its test, also when that one panics, and its log is
// shown when the test failed; no other process is touched. The package leaves no
// goroutine behind for goleak to find.
//
// A method that cannot do what it says fails the test: call them from the test's
// own goroutine.
package consultest
