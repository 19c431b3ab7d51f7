package core

import (
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"usher/config"
	"usher/routetable"
)

// upgrade is what a request with these Upgrade fields is let through for.
func upgrade(allowed []string, fields ...string) string {
	x := &Exchange{Head: &fasthttp.RequestHeader{}, policy: &config.Policy{Upgrades: allowed}}
	x.Head.DisableSpecialHeader()
	for _, f := range fields {
		x.Head.Add("Upgrade", f)
	}
	return string(new(Core).Upgrade(x, nil))
}

func TestUpgrade(t *testing.T) {
	list := func(tokens ...string) []string { return tokens }
	for _, tc := range []struct {
		name    string
		allowed []string
		fields  []string
		want    string
	}{
		{"none", list("websocket"), nil, ""},
		{"empty", list("websocket"), list(""), ""},
		{"allowed", list("websocket"), list("websocket"), "websocket"},
		{"as the client wrote it", list("websocket"), list("WebSocket"), "WebSocket"},
		{"not allowed", list("websocket"), list("h2c"), ""},
		{"nothing allowed", nil, list("websocket"), ""},
		{"a part of a token", list("websocket"), list("websocket2", "web"), ""},
		{"with a version", list("websocket"), list("websocket/13"), ""},
		{"a list", list("websocket"), list("h2c, ,websocket"), "websocket"},
		{"the second field", list("websocket"), list("h2c", " websocket "), "websocket"},
		{"the client's order", list("websocket", "tcp"), list("h2c, tcp, websocket"), "tcp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := upgrade(tc.allowed, tc.fields...); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// Whatever the field holds, only what is listed comes through, and no other byte.
func FuzzUpgrade(f *testing.F) {
	f.Add("websocket")
	f.Add("h2c, WEBSOCKET\t,")
	f.Add("websocket\x00")
	f.Fuzz(func(t *testing.T, value string) {
		if got := upgrade([]string{"websocket", "tcp"}, value); got != "" &&
			!strings.EqualFold(got, "websocket") && !strings.EqualFold(got, "tcp") {
			t.Errorf("%q lets %q through", value, got)
		}
	})
}

func TestTunnelOver(t *testing.T) {
	const second = int64(time.Second)
	c := new(Core)
	c.table.Store(routetable.Empty())
	var inTable routetable.State
	ts := &Tunnels{core: c, present: map[*routetable.State]struct{}{&inTable: {}}, table: c.Table()}
	gone := func(drain time.Duration) *Tunnel {
		return &Tunnel{owner: ts, endpoint: &routetable.Endpoint{State: new(routetable.State)}, drain: drain}
	}
	for _, tc := range []struct {
		name   string
		tunnel *Tunnel
		// last are the times of the last byte, now those of the question.
		last, now []int64
		want      string
	}{
		{"without a bound", gone(0), []int64{1, 1}, []int64{1, 1e6 * second}, "nn"},
		{
			"idle", &Tunnel{owner: ts, idle: time.Second},
			[]int64{1, 1, 2 * second, 2 * second},
			[]int64{1, second, 2*second + 1, 3 * second},
			"nnny",
		},
		{
			"present", &Tunnel{owner: ts, endpoint: &routetable.Endpoint{State: &inTable}, drain: 1},
			[]int64{1, 1},
			[]int64{1, 1e6 * second},
			"nn",
		},
		{
			"left, though in use", gone(2 * time.Second),
			[]int64{10 * second, 11 * second, 12 * second},
			[]int64{10 * second, 11 * second, 12 * second},
			"nny",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			for i := range tc.now {
				if isOver(tc.tunnel, tc.last[i], tc.now[i]) {
					got += "y"
				} else {
					got += "n"
				}
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// An endpoint that comes back begins anew when it leaves the next time; a new table is
// looked at within a second.
func TestTunnelEndpointReturns(t *testing.T) {
	const second = int64(time.Second)
	c := new(Core)
	first, then := routetable.Empty(), routetable.Empty()
	c.table.Store(first)
	var s routetable.State
	ts := &Tunnels{core: c, present: map[*routetable.State]struct{}{&s: {}}, table: first, at: second}
	tunnel := &Tunnel{owner: ts, endpoint: &routetable.Endpoint{State: &s}, drain: 2 * time.Second}
	c.table.Store(then) // in which the endpoint is not
	if isOver(tunnel, 0, 2*second-1) || tunnel.left != 0 {
		t.Error("the table is listed too often")
	}
	if isOver(tunnel, 0, 2*second) || tunnel.left != 2*second {
		t.Error("the endpoint's leaving is not seen")
	}
	ts.present[&s] = struct{}{}
	if isOver(tunnel, 0, 4*second) || tunnel.left != 0 {
		t.Error("the endpoint's return is not seen")
	}
	delete(ts.present, &s)
	if isOver(tunnel, 0, 5*second) || !isOver(tunnel, 0, 7*second) {
		t.Error("the second leaving does not count from its own time")
	}
}

func TestTunnelsReserve(t *testing.T) {
	ts := NewTunnels(nil, &Listener{Listener: config.Listener{MaxTunnels: 2}})
	for i, want := range []bool{true, true, false, false} {
		if got := ts.Reserve(); got != want {
			t.Errorf("%d: got %t, want %t", i, got, want)
		}
	}
	ts.Cancel()
	if !ts.Reserve() || ts.Reserve() {
		t.Error("a place given back is not there, or there twice")
	}
	ts = NewTunnels(nil, &Listener{})
	for range 1000 {
		if !ts.Reserve() {
			t.Fatal("0 is a limit")
		}
	}
}

func isOver(t *Tunnel, last, now int64) bool {
	over, _ := t.Over(last, now)
	return over
}
