package healthcheck

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"usher/config"
)

const (
	// stallRequests are how many must wait at a silent endpoint for it to be stalled.
	stallRequests = 3
	// stallPause is the least time between two looks at the peers of a silent one.
	stallPause = 250 * time.Millisecond
	// stallFactor is how many times the peers' slowest answer a silence must last.
	stallFactor = 2
	// rateGap is how far below the mean a success rate is near enough, however much
	// alike the peers are.
	rateGap = 0.05
	// slowestWindows is how many windows the slowest answer is remembered for, at most.
	slowestWindows = 3
)

// stalled says whether a silent endpoint is silent beyond what its peers make plausible:
// most of them answer, and none of these takes half so long. A service that takes long
// everywhere, or has stopped everywhere, is not stalled.
func (m *Monitor) stalled(r *record, rules *config.Outlier, now int64) bool {
	r.hanging.mu.Lock()
	silence := now - r.hanging.begun
	r.hanging.mu.Unlock()
	if r.trouble.Load()&watching == 0 || silence < int64(rules.StallTimeout) {
		return false
	}
	peers := 0
	var slowest []int64
	for _, p := range r.group.records {
		if p == r || p.left > 0 || !takesTraffic(p.endpoint) || p.state.isOut() {
			continue
		}
		peers++
		if took := max(p.slowest.Load(), p.lastSlowest); took > 0 && p.trouble.Load()&watching == 0 {
			slowest = append(slowest, took)
		}
	}
	if len(slowest) == 0 || 2*len(slowest) < peers {
		return false
	}
	slices.Sort(slowest)
	return silence > stallFactor*slowest[len(slowest)/2]
}

// compare looks for endpoints that are far worse than their peers in the window that
// ends.
func (m *Monitor) compare(g *group, now int64) {
	var rules *config.Outlier
	var shown []sample
	g.windows++
	for _, r := range g.records {
		seen := counts{r.requests.Load(), r.failures.Load(), r.timed.Load(), r.nanos.Load()}
		s := sample{record: r, counts: seen.since(&r.seen)}
		r.seen = seen
		if g.windows%slowestWindows == 0 {
			r.lastSlowest = r.slowest.Swap(0)
		}
		if r.left == 0 && r.endpoint.Health != nil {
			rules = &r.endpoint.Health.Outlier
		}
		if r.left == 0 && takesTraffic(r.endpoint) && r.ejection.phase != ejected {
			shown = append(shown, s)
		}
	}
	if rules == nil {
		g.window = now + int64(time.Minute)
		return
	}
	g.window = now + int64(max(time.Second, rules.SuccessRate.Interval))
	if rules.Enabled && rules.SuccessRate.Enabled {
		m.compareRates(shown, rules, now)
	}
	if rules.Enabled && rules.Latency.Enabled {
		m.compareLatency(shown, rules, now)
	}
}

// sample is what an endpoint showed in one window.
type sample struct {
	record *record
	counts
}

// since is what was counted since then.
func (c counts) since(then *counts) counts {
	return counts{
		c.requests - then.requests, c.failures - then.failures, c.timed - then.timed, c.nanos - then.nanos,
	}
}

// busy returns the samples of which so many requests count; nil if they are too few hosts.
func busy(list []sample, requests, hosts int, count func(*sample) uint64) []sample {
	list = slices.DeleteFunc(slices.Clone(list), func(s sample) bool { return count(&s) < uint64(requests) })
	if len(list) < hosts {
		return nil
	}
	return list
}

func (s *sample) rate() float64 { return 1 - float64(s.failures)/float64(s.requests) }

func (s *sample) mean() float64 { return float64(s.nanos) / float64(s.timed) }

// compareRates ejects those whose success rate is far below the mean, the worst first.
func (m *Monitor) compareRates(shown []sample, rules *config.Outlier, now int64) {
	list := busy(shown, rules.SuccessRate.MinRequests, rules.SuccessRate.MinHosts,
		func(s *sample) uint64 { return s.requests })
	if list == nil {
		return
	}
	var sum, squares float64
	for i := range list {
		sum += list[i].rate()
	}
	mean := sum / float64(len(list))
	for i := range list {
		squares += (list[i].rate() - mean) * (list[i].rate() - mean)
	}
	stdev := math.Sqrt(squares / float64(len(list)))
	least := min(mean-rules.SuccessRate.StdevFactor*stdev, mean-rateGap)
	slices.SortStableFunc(list, func(a, b sample) int { return cmp.Compare(a.rate(), b.rate()) })
	for _, s := range list {
		if s.rate() >= least {
			return
		}
		m.eject(s.record, bySuccessRate, fmt.Sprintf("%.1f%% of its answers are good, of its peers' %.1f%%",
			100*s.rate(), 100*mean), rules, now)
	}
}

// compareLatency ejects those whose mean time to an answer is far above the median, the
// worst first.
func (m *Monitor) compareLatency(shown []sample, rules *config.Outlier, now int64) {
	list := busy(shown, rules.Latency.MinRequests, rules.Latency.MinHosts,
		func(s *sample) uint64 { return s.timed })
	if list == nil {
		return
	}
	slices.SortStableFunc(list, func(a, b sample) int { return cmp.Compare(b.mean(), a.mean()) })
	median := list[len(list)/2].mean()
	for _, s := range list {
		if s.mean() <= median*rules.Latency.Factor {
			return
		}
		m.eject(s.record, byLatency, fmt.Sprintf("its answers take %s, its peers' %s",
			short(s.mean()), short(median)), rules, now)
	}
}

// short writes nanoseconds for people.
func short(ns float64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }
