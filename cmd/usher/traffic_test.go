package main_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// call is one request and what became of it.
type call struct {
	id, method string
	begun      time.Time
	took       time.Duration
	code       int
	by         string // the body
	reason     string // of usher's own answer
	retryAfter string
	closes     bool
	failure    string // without an answer
}

func (c *call) ok() bool { return c.failure == "" && c.code == http.StatusOK }

func (c *call) String() string {
	return fmt.Sprintf("%s %s: %d %s %s after %s", c.method, c.id, c.code, c.reason, c.failure,
		c.took.Round(time.Millisecond))
}

// traffic is a steady stream of requests, each of its own whatever becomes of those
// before it, with an X-Id. Unlike load, it remembers them all.
type traffic struct {
	load
	calls []*call
}

// startTraffic asks s.test behind url at the given rate until finished. One request of
// every nth is a POST with a body; 0: none is.
func startTraffic(t testing.TB, url string, rate, nth int) *traffic {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 1024}
	t.Cleanup(tr.CloseIdleConnections) // after the last answer
	return startTrafficBy(t, &http.Client{Transport: tr, Timeout: 30 * time.Second}, url, rate, nth)
}

// startTrafficBy is startTraffic by a client with connections of its own.
func startTrafficBy(t testing.TB, client *http.Client, url string, rate, nth int) *traffic {
	t.Helper()
	f := &traffic{load: load{t: t, stop: make(chan struct{})}}
	turns := make(chan struct{}, rate)
	f.done.Go(func() { f.pace(turns, rate) })
	f.done.Go(func() {
		first := time.Now().UnixNano() // no other traffic has the same
		for n := 1; ; n++ {
			if _, more := <-turns; !more {
				return
			}
			c := &call{id: fmt.Sprintf("%d.%d", first, n), method: http.MethodGet}
			if nth > 0 && n%nth == 0 {
				c.method = http.MethodPost
			}
			f.done.Go(func() { f.call(client, url, c) })
		}
	})
	t.Cleanup(f.finish)
	return f
}

// call makes one request and remembers it.
func (f *traffic) call(client *http.Client, url string, c *call) {
	c.begun = time.Now()
	c.ask(client, url)
	c.took = time.Since(c.begun)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
}

// ask makes the request.
func (c *call) ask(client *http.Client, url string) {
	var body io.Reader
	if c.method == http.MethodPost {
		body = strings.NewReader("an order")
	}
	req, _ := http.NewRequest(c.method, url, body)
	req.Host = "s.test"
	req.Header.Set("X-Id", c.id)
	resp, err := client.Do(req)
	if err != nil {
		c.failure = err.Error()
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.failure = "body: " + err.Error()
	}
	c.code, c.by, c.closes = resp.StatusCode, string(text), resp.Close
	c.reason, c.retryAfter = resp.Header.Get("X-Usher-Reason"), resp.Header.Get("Retry-After")
}

// end stops the traffic, waits for the last answers and returns all requests in the
// order in which they began.
func (f *traffic) end() []*call {
	f.finish()
	slices.SortFunc(f.calls, func(a, b *call) int { return a.begun.Compare(b.begun) })
	return f.calls
}

// those are the calls of which a property holds.
func those(calls []*call, is func(c *call) bool) (list []*call) {
	for _, c := range calls {
		if is(c) {
			list = append(list, c)
		}
	}
	return list
}

func failed(c *call) bool { return !c.ok() }

// slowest is the time within which all but a share of the calls were over.
func slowest(calls []*call, but float64) time.Duration {
	if len(calls) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(calls), func(a, b *call) int { return cmp.Compare(a.took, b.took) })
	return sorted[len(sorted)-1-int(but*float64(len(sorted)))].took.Round(time.Millisecond)
}

// outcomes counts the calls by what was answered, and by whom.
func outcomes(calls []*call) map[string]int {
	by := map[string]int{}
	for _, c := range calls {
		switch {
		case c.failure != "":
			by[c.failure]++
		case c.code == http.StatusOK:
			by[c.by]++
		default:
			by[strings.TrimSpace(fmt.Sprint(c.code, " ", c.reason))]++
		}
	}
	return by
}

// mustAnswer fails the test if one of the calls failed.
func mustAnswer(t testing.TB, calls []*call, what string) {
	t.Helper()
	if bad := those(calls, failed); len(bad) > 0 {
		t.Errorf("%s: %d of %d failed, such as %s", what, len(bad), len(calls), bad[0])
	}
}
