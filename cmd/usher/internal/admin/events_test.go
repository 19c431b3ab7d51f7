package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

// stream is a reader of the events.
type stream struct {
	t     testing.TB
	resp  *http.Response
	lines *bufio.Scanner
	end   context.CancelFunc
}

func follow(t testing.TB, s *Server, path string, fields ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req) //nolint:bodyclose // close does
	if err != nil {
		t.Fatal(err)
	}
	out := &stream{t, resp, bufio.NewScanner(resp.Body), cancel}
	t.Cleanup(out.close)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" ||
		resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	return out
}

func (s *stream) close() {
	s.end()
	s.resp.Body.Close()
}

// next reads one event; ok is false at the end of the stream.
func (s *stream) next() (e api.Event, ok bool) {
	s.t.Helper()
	id := ""
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				s.t.Fatal(err)
			}
			if id != fmt.Sprint(e.ID) {
				s.t.Errorf("id %s of event %d", id, e.ID)
			}
			return e, true
		}
	}
	return e, false
}

func (s *stream) wants(ids ...uint64) {
	s.t.Helper()
	for _, id := range ids {
		if e, ok := s.next(); !ok || e.ID != id {
			s.t.Fatalf("got event %d, %v, want %d", e.ID, ok, id)
		}
	}
}

func TestEventList(t *testing.T) {
	t.Parallel()
	var log events.Log
	s := newHouse().start(t, "127.0.0.1:0", &log)
	for range 3 {
		log.Add(api.Event{Kind: "reload"})
	}
	for query, want := range map[string]int{"": 3, "?since=0": 3, "?since=1": 2, "?since=3": 0, "?since=99": 3} {
		resp, body := ask(t, s, http.MethodGet, "/api/v1/events"+query)
		var list []api.Event
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != want || list == nil {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
	for _, query := range []string{"?since=x", "?since=-1", "?since=99999999999999999999"} {
		if resp, body := ask(t, s, http.MethodGet, "/api/v1/events"+query); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}

// A stream goes on where the reader has left off, and ends with usher.
func TestEventStream(t *testing.T) {
	t.Parallel()
	var log events.Log
	s := newHouse().start(t, "127.0.0.1:0", &log)
	log.Add(api.Event{Kind: "reload", Message: "two\nlines"})
	log.Add(api.Event{Kind: "reload"})
	all := follow(t, s, "/api/v1/events")
	all.wants(1, 2)
	after := follow(t, s, "/api/v1/events?since=1")
	after.wants(2)
	again := follow(t, s, "/api/v1/events?since=1", "Last-Event-ID", "2", "Accept-Encoding", "gzip")
	of := follow(t, s, "/api/v1/events", "Last-Event-ID", "700") // of another process
	of.wants(1, 2)
	log.Add(api.Event{Kind: "reload"})
	for _, r := range []*stream{all, after, again, of} {
		r.wants(3)
	}
	all.close()
	if err := s.Listen(t.Context(), ""); err != nil { // as at a change of address
		t.Fatal(err)
	}
	s.Close()
	for _, r := range []*stream{after, again, of} {
		if e, ok := r.next(); ok {
			t.Errorf("%+v came after the end", e)
		}
	}
}

// A reader that reads nothing keeps nobody, and one that reads late has it all.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	var log events.Log
	s := newHouse().start(t, "127.0.0.1:0", &log)
	conn, err := net.Dial("tcp", s.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	late := follow(t, s, "/api/v1/events")
	for range 900 {
		log.Add(api.Event{Kind: "health", Message: strings.Repeat("x", 1000)})
	}
	for id := range uint64(900) {
		late.wants(id + 1)
	}
	if n := len(log.Since(0)); n != 900 {
		t.Errorf("%d events are remembered", n)
	}
}
