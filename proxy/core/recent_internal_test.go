package core

import (
	"fmt"
	"testing"
	"time"

	"usher/metrics"
)

// taken is how many of the requests that come every so often, for so long, on one shard
// are taken, and how old the oldest in the ring is at the end.
func taken(r *Recent, every, span time.Duration) (n int, covers time.Duration) {
	begin := time.Unix(0, 0)
	for at := time.Duration(1); at < span; at += every {
		if r.due(0, int64(at)) {
			n++
			r.add(&Sampled{At: begin.Add(at)})
		}
	}
	return n, begin.Add(span).Sub(r.Requests()[0].At)
}

// Under a high load the ring covers minutes; of a low one, and of the beginning of a high
// one, each request is there.
func TestRecentAdapts(t *testing.T) {
	r := NewRecent(1024)
	n, covers := taken(r, time.Millisecond, 20*time.Minute)
	if n < 1024 || covers < 2*time.Minute {
		t.Errorf("at 1,000 a second %d are taken, and the ring covers %s", n, covers)
	}
	r = NewRecent(1024)
	if n, covers = taken(r, 20*time.Second, 2*time.Hour); n != 360 || covers < 119*time.Minute {
		t.Errorf("of 360 in two hours %d are taken, and the ring covers %s", n, covers)
	}
	r = NewRecent(1024)
	if n, _ = taken(r, time.Microsecond, 1024/2/time.Duration(len(r.gates))*time.Microsecond); n < 1024/2/len(r.gates) {
		t.Errorf("of the first %d at once %d are taken", 1024/2/len(r.gates), n)
	}
}

// The smallest ring holds the last one.
func TestRecentOfOne(t *testing.T) {
	r := NewRecent(1)
	for i := range 3 {
		r.add(&Sampled{Target: fmt.Sprint(i)})
	}
	if got := r.Requests(); len(got) != 1 || got[0].Target != "2" {
		t.Errorf("remembered: %+v", got)
	}
}

// A request that is not taken costs no allocation.
func BenchmarkRecentNotDue(b *testing.B) {
	r := NewRecent(1024)
	for r.due(0, 1) {
	}
	b.ReportAllocs()
	for b.Loop() {
		if r.due(metrics.Shard(0), 1) {
			b.Fatal("it was taken")
		}
	}
}
