package consul

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// longestPause bounds watcher.NextPause.
const longestPause = 10 * time.Second

func TestStep(t *testing.T) {
	for name, test := range map[string]struct {
		last, got, next uint64
		apply           bool
	}{
		"the first answer":            {0, 7, 7, true},
		"a change":                    {7, 9, 9, true},
		"the wait is over":            {7, 7, 7, true},
		"an index below one is one":   {0, 0, 1, true},
		"backwards: ask again from 0": {7, 6, 0, false},
		"backwards to one":            {7, 1, 0, false},
		"backwards to nothing":        {1, 0, 0, false},
		"whatever comes after that":   {0, 1, 1, true},
		"the largest":                 {1<<64 - 2, 1<<64 - 1, 1<<64 - 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			if next, apply := step(test.last, test.got); next != test.next || apply != test.apply {
				t.Errorf("got %d, %v, want %d, %v", next, apply, test.next, test.apply)
			}
		})
	}
}

func TestFollowerIndex(t *testing.T) {
	f := newFollower()
	for i, test := range []struct {
		got          uint64
		apply, reset bool
		index        uint64
	}{{5, true, false, 5}, {5, true, false, 5}, {2, false, true, 0}, {2, true, false, 2}, {3, true, false, 3}} {
		apply, reset := f.answered(test.got)
		if apply != test.apply || reset != test.reset || f.index != test.index {
			t.Errorf("answer %d: %v, %v, index %d", i, apply, reset, f.index)
		}
	}
}

// TestPace: as many answers at once as the bucket holds, then one each period.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower()
		took := func() time.Duration {
			begin := time.Now()
			if !f.pace(t.Context()) {
				t.Error("it ended")
			}
			return time.Since(begin)
		}
		burst := func(n int) {
			t.Helper()
			for i := range n {
				if d := took(); d != 0 {
					t.Errorf("answer %d of the burst waited %v", i+1, d)
				}
			}
			for range 50 {
				if d := took(); d != refillPeriod {
					t.Fatalf("an answer of the flood waited %v, want %v", d, refillPeriod)
				}
			}
		}
		burst(bucketSize)
		<-time.After(2 * refillPeriod)
		burst(2)
		<-time.After(time.Hour)
		burst(bucketSize) // no more, however long nothing came
	})
}

func TestPaceAndFailedEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFollower()
		cancel()
		begin := time.Now()
		for range 2 * bucketSize {
			if f.pace(ctx) {
				t.Error("pace went on")
			}
		}
		if f.failed(ctx) {
			t.Error("failed went on")
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestBackoff: the pauses after errors are decorrelated jitter within the bounds,
// and begin anew after an answer.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower()
		f.answered(7)
		fails := func() time.Duration {
			begin := time.Now()
			if !f.failed(t.Context()) {
				t.Error("it ended")
			}
			if f.index != 0 {
				t.Errorf("the next query has the index %d", f.index)
			}
			return time.Since(begin)
		}
		last := fails()
		if last != watcher.FirstPause {
			t.Errorf("the first pause is %v", last)
		}
		longest := last
		for range 200 {
			d := fails()
			if d < watcher.FirstPause || d > longestPause || d > 3*last {
				t.Fatalf("a pause of %v after %v", d, last)
			}
			last, longest = d, max(longest, d)
		}
		if longest < longestPause/2 {
			t.Errorf("the longest pause is %v", longest)
		}
		f.answered(1)
		if d := fails(); d != watcher.FirstPause {
			t.Errorf("after an answer it pauses %v", d)
		}
	})
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"http_403":    fmt.Errorf("asked: %w", api.StatusError{Code: 403}),
		"timeout":     fmt.Errorf("asked: %w", context.DeadlineExceeded),
		"unreachable": errors.New("connection refused"),
	} {
		if got := reason(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
	if got := reason(os.ErrDeadlineExceeded); got != "timeout" {
		t.Errorf("got %q", got)
	}
}

func TestNew(t *testing.T) {
	for name, c := range map[string]config.Consul{
		"no such authority": {Address: "https://127.0.0.1:1", TLS: config.ConsulTLS{CAFile: "/nowhere"}},
		"no such scheme":    {Address: "ftp://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(c, nil); !errors.Is(err, watcher.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}
