package http1

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// A request that was read before its connection came to the server is served, though a
// shutdown begins before anybody has looked at it.
func TestShutdownServesEarly(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	set := metrics.New("test", core.Reasons())
	sweeper := wire.NewSweeper()
	pools := upstream.NewPools(sweeper)
	defer pools.Close()
	c := core.New(sweeper, pools, healthcheck.New(log, nil), set.Downstream)
	l := core.NewListener(config.Listener{Name: "web", Protocol: "http"}, &net.TCPAddr{Port: 80},
		set.Downstream.Listener("web"), core.NewGate(core.NewLimits(0)))
	s := NewServer(c, l, log)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, err := wire.NewClient(accepted.(*net.TCPConn)) //nolint:forcetypeassert // it is TCP
	if err != nil {
		t.Fatal(err)
	}
	client.Early = []byte("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	serve := s.Take(l.Admit(client))
	done := make(chan int)
	go func() { done <- s.Shutdown(t.Context()) }()
	for !s.conns.Awaited() { // until the idle ones are closed
		runtime.Gosched()
	}
	go serve()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %v, %v", resp, err)
	} else {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	<-done
}
