package consul

import "testing"

// TestForeignChange: a change in a service that is nobody's says nothing of those that
// share a query; a list that wakes and shows no change at all does.
func TestForeignChange(t *testing.T) {
	t.Parallel()
	const apiPath = "/v1/health/service/zz"
	f := newFake(t, map[string]answer{
		leader:   {body: `"127.0.0.1:8300"`},
		listPath: {index: 10, body: `{"web": ["urlprefix-/"], "zz": ["urlprefix-/zz"]}`},
		metaPath: {index: 10, body: "{}"},
		webPath:  {index: 10, body: webEntry},
		apiPath:  {index: 10, body: webEntry},
	})
	c := conf(f.addr)
	c.MaxWatches = 1
	b := follow(t, c)
	b.awaitSynced()
	b.eventually("both are known", func() bool { return len(b.services) == 2 })
	reads, lists := f.count(apiPath), f.count(listPath)
	const foreign = `{"web": ["urlprefix-/"], "zz": ["urlprefix-/zz"], "other": ["x"]}`
	f.set(listPath, answer{index: 11, body: foreign})
	f.set(metaPath, answer{index: 11, body: "{}"})
	b.eventually("the list is waited for again", func() bool { return b.seen == 3 && f.count(listPath) > lists })
	if n := f.count(apiPath); n != reads {
		t.Errorf("read %d times for a change in another service", n-reads)
	}
	f.set(listPath, answer{index: 12, body: foreign})
	b.eventually("it is read again", func() bool { return f.count(apiPath) > reads })
}
