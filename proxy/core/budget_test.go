package core

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
)

const second = int64(time.Second)

func usual() config.RetryBudget { return config.RetryBudget{Share: 0.2, MinPerSecond: 3} }

// When everything fails and each request asks for two retries, there are no more than a
// fifth of the requests, and the floor.
func TestBudgetStopsAStorm(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{1, 10, 100, 10_000} {
		var b budget
		now, begun, taken := second, uint64(0), 0
		const seconds = 60
		for range rate * seconds {
			now += second / int64(rate)
			begun++
			for range 2 {
				if b.take(now, begun, 1, usual()) {
					taken++
				}
			}
		}
		most := max(0.2*float64(begun), 3*seconds) + 3*budgetWindow.Seconds()
		if float64(taken) > most {
			t.Errorf("%d a second: %d retries of %d requests, want at most %.0f", rate, taken, begun, most)
		}
		if least := 0.9 * min(float64(2*begun), max(0.2*float64(begun), 3*seconds)); float64(taken) < least {
			t.Errorf("%d a second: %d retries of %d requests, want at least %.0f", rate, taken, begun, least)
		}
	}
}

// What was sent before pays for a burst of failures, for a while.
func TestBudgetRemembers(t *testing.T) {
	t.Parallel()
	burst := func(pause int64) (taken int) {
		var b budget
		b.take(second, 0, 0, usual())
		const requests = 10_000
		b.take(11*second, requests, 0, usual())
		for b.take(11*second+pause, requests, 0, usual()) {
			taken++
		}
		return taken
	}
	// Ten seconds of even traffic are worth 1-1/e of themselves.
	if n := burst(0); n < 1200 || n > 1300 {
		t.Errorf("at once: %d", n)
	}
	if n := burst(10 * second); n < 440 || n > 480 {
		t.Errorf("10 s later: %d", n)
	}
	if n := burst(600 * second); n != 30 {
		t.Errorf("10 minutes later: %d", n)
	}
}

// Requests that have been in flight for long are live too.
func TestBudgetOfRequestsInFlight(t *testing.T) {
	t.Parallel()
	var b budget
	b.take(second, 1000, 1000, config.RetryBudget{})
	n := 0
	for b.take(1000*second, 1000, 1000, config.RetryBudget{Share: 0.2}) {
		n++
	}
	if n != 200 {
		t.Errorf("%d retries with 1000 requests in flight, want 200", n)
	}
}

func TestBudgetOfNothing(t *testing.T) {
	t.Parallel()
	var b budget
	if b.take(second, 1_000_000, 1_000_000, config.RetryBudget{}) {
		t.Error("a budget of 0 gave a retry")
	}
}

// Whatever comes when, there are never more retries than their share of the requests, but
// for the floor; and a budget that many ask at once is the same.
func TestBudgetHolds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := config.RetryBudget{Share: r.Float64(), MinPerSecond: 10 * r.Float64()}
		var b budget
		now, begun, taken := second, uint64(0), 0.
		first := now
		for range 1 + r.IntN(60) {
			now += r.Int64N(20 * second)
			begun += r.Uint64N(5000)
			for range r.IntN(3000) {
				if b.take(now, begun, 0, s) {
					taken++
				}
			}
		}
		most := s.Share*float64(begun) + s.MinPerSecond*(float64(now-first)/1e9+budgetWindow.Seconds())
		if taken > math.Ceil(most)+1 {
			t.Fatalf("seed %d: %v retries of %d requests within %v, want at most %.1f",
				seed, taken, begun, time.Duration(now-first), most)
		}
	}
}

func TestBudgetConcurrently(t *testing.T) {
	t.Parallel()
	var b budget
	var taken atomic.Int64
	var wg sync.WaitGroup
	b.take(second, 0, 0, usual())
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.take(second, 1000, 0, usual()) {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 199 {
		t.Errorf("%d, want 199: with the one before a fifth of 1000", n)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := &config.Backoff{Base: 25 * time.Millisecond, Max: 250 * time.Millisecond}
	for n, most := range map[int]time.Duration{1: 25, 2: 50, 3: 100, 4: 200, 5: 250, 6: 250, 100: 250} {
		if got := backoff(b, n, 1); got != most*time.Millisecond {
			t.Errorf("retry %d: at most %v, want %v ms", n, got, int(most))
		}
		for range 100 {
			if got := backoff(b, n, rand.Float64()); got < 0 || got > most*time.Millisecond {
				t.Errorf("retry %d: got %v", n, got)
			}
		}
		if got := backoff(b, n, 0); got != 0 {
			t.Errorf("retry %d: at least %v", n, got)
		}
		if got := backoff(&config.Backoff{}, n, 1); got != 0 {
			t.Errorf("no backoff: got %v", got)
		}
	}
	huge := &config.Backoff{Base: math.MaxInt64 / 2, Max: math.MaxInt64}
	if got := backoff(huge, 10, 0.5); got <= 0 {
		t.Errorf("overflow: got %v", got)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "120": 2 * time.Minute, "-1": 0, "1.5": 0, "soon": 0,
		"99999999999999999999":          0,
		"Mon, 06 May 2024 07:08:39 GMT": 30 * time.Second,
		"Mon, 06 May 2024 07:08:00 GMT": 0,
	} {
		if got := retryAfterOf([]byte(value), now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

// FuzzRetryAfter: no value makes it panic or comes to a time before now.
func FuzzRetryAfter(f *testing.F) {
	f.Add([]byte("120"))
	f.Add([]byte("Mon, 06 May 2024 07:08:39 GMT"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if d := retryAfterOf(value, time.Unix(1e9, 0)); d < 0 {
			t.Errorf("%q: %v", value, d)
		}
	})
}

// Asked at every failure of a storm, a budget costs little; it is not asked otherwise.
func BenchmarkBudget(b *testing.B) {
	var bu budget
	now, begun := second, uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		begun++
		bu.take(now, begun, 10, usual())
	}
}
