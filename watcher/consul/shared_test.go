package consul

import (
	"strings"
	"testing"
)

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
	// Consul lists the tags of a service in any order.
	lists = f.count(listPath)
	const reordered = `{"web": ["urlprefix-/"], "zz": ["b", "urlprefix-/zz", "a"], "other": ["x"]}`
	const tagged = `{"web": ["urlprefix-/"], "zz": ["urlprefix-/zz", "a", "b"], "other": ["y"]}`
	f.set(listPath, answer{index: 12, body: tagged})
	b.eventually("it is read again", func() bool { return f.count(apiPath) == reads+1 && f.count(listPath) > lists })
	lists = f.count(listPath)
	f.set(listPath, answer{index: 13, body: strings.Replace(reordered, `"x"`, `"z"`, 1)})
	b.eventually("the list is waited for again", func() bool { return f.count(listPath) > lists })
	if n := f.count(apiPath); n != reads+1 {
		t.Errorf("read %d times for another order of its tags", n-reads-1)
	}
	reads = f.count(apiPath)
	f.set(listPath, answer{index: 14, body: strings.Replace(reordered, `"x"`, `"z"`, 1)})
	b.eventually("it is read again", func() bool { return f.count(apiPath) > reads })
}
