package main_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// strangers are the requests of TestCardinality, each with a host, a path and a method
	// of its own.
	strangers = 10_000
	// grownSeries is how many series they may make together: those of a method nobody knows,
	// by listener, and the answers and histograms that were not there before.
	grownSeries = 20
	// mark is in everything that they make up.
	mark = "zzq"
)

// Nothing that clients make up becomes a label: after ten thousand hosts, paths and methods
// from many addresses there are about as many series as before, and none names any of them.
func TestCardinality(t *testing.T) {
	u := startWithFile(t, newBackend(t, "b", nil), "")
	for _, host := range []string{"s.test", "nobody.test"} {
		get(t, u.web+"/", host)
	}
	before := u.scrape()
	var asking sync.WaitGroup
	const clients = 16
	for i := range clients {
		asking.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for left := strangers / clients; left > 0; left -= 25 {
				if err := beStranger(r, strings.TrimPrefix(u.web, "http://"), 25); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	asking.Wait()
	if n := u.metric("usher_requests_total", `method="OTHER"`); n < strangers {
		t.Errorf("%v requests with a method of their own", n)
	}
	after := u.scrape()
	t.Logf("%d series before, %d after %d hosts, paths and methods", before.series, after.series, strangers)
	if grown := after.series - before.series; grown > grownSeries {
		t.Errorf("%d series more, at most %d are allowed", grown, grownSeries)
	}
	if _, body := get(t, u.admin+"/metrics", ""); strings.Contains(strings.ToLower(body), mark) {
		t.Error("a label has what a client made up")
	}
}

// beStranger makes n requests on a connection from some address of the loopback.
func beStranger(r *rand.Rand, address string, n int) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, byte(r.IntN(250)), byte(1+r.IntN(250)))}}
	nc, err := d.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	reader := bufio.NewReader(nc)
	for range n {
		word := fmt.Sprintf("%s%x", mark, r.Uint64())
		host := word + ".test"
		if r.IntN(2) == 0 {
			host = "s.test" // which is routed, to a path of its own
		}
		_, err := fmt.Fprintf(nc, "%s /%s/%s?%s=%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nX-%s: %s\r\n\r\n",
			strings.ToUpper(word), word, word, word, word, host, word, word, word)
		if err != nil {
			return err
		}
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
