package proxy_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/proxy/proxytest"
)

// traps are what proxies fall into, and what others have shipped, each with the tests
// that usher does not. A name is that of a test or a fuzz target of this module.
var traps = []struct {
	trap  string
	tests []string
}{
	{"a chunked request is cut", []string{"TestMalformedRequestChunks", "TestRequestBodyCut"}},
	{"a chunked response is cut", []string{"TestTruncatedResponses", "TestConformTruncation", "TestConformCuts"}},
	{"an upload is given up at 40 %", []string{"TestConformUploadCut", "TestRequestBodyCut"}},
	{"bytes come late, behind a 204", []string{"TestLateBytes"}},
	{"an endpoint switches protocols", []string{"TestMalformedResponses"}},
	{"//evil/?u=http://z", []string{"TestTwoSlashesRouteByHost", "TestConformTargets", "TestForwardedHead"}},
	{"Host: u:p@x", []string{"TestRefusals", "TestCorpus"}},
	{"the target is written anew", []string{"TestConformTargets", "FuzzTarget"}},
	{
		"requests that two parsers read in two ways",
		[]string{"TestCorpus", "FuzzRequest", "FuzzScanRequest", "FuzzChunked"},
	},
	{"Connection: X-Forwarded-For, Content-Length", []string{"TestForwardedHead", "TestCorpus"}},
	{"a trailer with credentials", []string{"TestConformTrailers", "TestRequestChunks"}},
	{"a chunked body is a byte too large", []string{"TestMaxBodySize", "TestConformMaxBodySize"}},
	{"a hung request is sent again and again", []string{"TestTimeoutIsNotRepeated", "TestResetOnFresh"}},
	{"no descriptor is left", []string{"TestFewDescriptors"}},
	{"a fault in a handler", []string{"TestPanic"}},
	{"a slow stream is held back", []string{"TestSlowStream", "TestConformEventStream", "TestConformFirstByte"}},
	{"HTTP/1.0 is sent chunks", []string{"TestHTTP10", "TestHTTP10Truncated", "TestChunkSizesStayOut"}},
	{"stopped under load", []string{"TestShutdown", "TestShutdownAnswersWhatArrived", "TestDrainUnderLoad"}},
	{"the client has left", []string{"TestClientGone", "TestClientTakesNothing"}},

	{"an upload hangs when the answer comes first", []string{"TestEarlyResponse", "TestUploadsKeepTheConnection"}},
	{"HEAD hangs", []string{"TestHeadDoesNotHang", "TestConformBodyless"}},
	{"a page without Content-Length is blank", []string{"TestUntilClose", "TestConformUnknownLength"}},
	{"chunk sizes appear in pages", []string{"TestChunkSizesStayOut"}},
	{"a stream stalls", []string{"TestSlowStream", "TestStalledBodies"}},
	{"a Content-Type is made up", []string{"TestRelayedHead", "TestConformResponseHead"}},
	{"a line end is injected", []string{"TestNothingIsInjected", "TestMalformedResponses"}},
	{"a side fails at any byte", []string{
		"TestFaultsResponseCut", "TestFaultsResponseStalls", "TestFaultsBeforeResponse", "TestFaultsRequestCut",
		"TestFaultsRequestStalls", "TestFaultsWithinResponse",
	}},
	{"a request is sent again behind an interim response", []string{"TestFaultsBehindInterim"}},
	{"an endpoint speaks or ends first", []string{"TestEarly"}},
	{"thousands of slow clients", []string{"TestSlowConnections", "TestSlowClients"}},
	{"an error text is appended to a body that was cut", []string{"TestTruncatedResponses", "TestConformCuts"}},
}

func TestTrapsHaveTests(t *testing.T) {
	t.Parallel()
	var code strings.Builder
	for _, folder := range []string{".", "wire", "core", "http1", "upstream", "../cmd/usher"} {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
	}
	for _, trap := range traps {
		for _, name := range trap.tests {
			if !strings.Contains(code.String(), "\nfunc "+name+"(") {
				t.Errorf("%s: there is no test %s", trap.trap, name)
			}
		}
	}
}

// A target that begins with two slashes is a path: what decides is the Host.
func TestTwoSlashesRouteByHost(t *testing.T) {
	t.Parallel()
	good, evil := proxytest.Echo(t), proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		{Name: "good", Routes: []string{"good/"}, Addresses: []string{good.Addr}},
		{Name: "evil", Routes: []string{"evil/"}, Addresses: []string{evil.Addr}},
	}})
	for _, target := range []string{"//evil/?u=http://z", "//evil", "/http://evil/", "///evil/"} {
		c := u.Dial()
		c.Send("GET %s HTTP/1.1\r\nHost: good\r\n\r\n", target)
		r := c.Read("GET")
		if r.StatusCode != 200 || !strings.HasPrefix(r.Text, "GET "+target+" HTTP/1.1\r\n") {
			t.Errorf("%s: got %d %q", target, r.StatusCode, r.Text)
		}
	}
	if got := evil.Received(); got != "" {
		t.Errorf("the other host received %q", got)
	}
}

// The answer to a HEAD has a length and no body, and the connection goes on.
func TestHeadDoesNotHang(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"neither", "HTTP/1.1 200 OK\r\n\r\n"},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000000\r\n\r\n"},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 3 {
				c.Send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
				if r := c.Read("HEAD"); r.Text != "" || r.Err != nil || r.Close {
					t.Fatalf("got %v %q (%v)", r.Header, r.Text, r.Err)
				}
			}
			u.Quiet()
		})
	}
}

// A client of HTTP/1.0 sees the data of a chunked response and nothing of its framing,
// and a body that looks like chunks is left alone.
func TestChunkSizesStayOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer, want string }{
		{"chunks", chunked + "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n", "hello world"},
		{
			"a body that looks like chunks", "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			"5\r\nhello\r\n0\r\n\r\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
			b, err := io.ReadAll(c.R)
			head, body, _ := strings.Cut(string(b), "\r\n\r\n")
			if err != nil || body != tc.want || strings.Contains(head, "Transfer-Encoding") {
				t.Errorf("got %q (%v)", b, err)
			}
			modern := u.Dial()
			modern.Send(get + "\r\n")
			modern.OK("GET", tc.want)
		})
	}
}

// What a client puts into a target, encoded or not, makes no line of its own on either
// side.
func TestNothingIsInjected(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{{
		Name: "origin", Routes: []string{"/in strip=/in", "/host host=b.example"}, Addresses: []string{origin.Addr},
	}}})
	c := u.Dial()
	for _, target := range []string{
		"/in/%0d%0aX-Evil:%20y", "/host/%0aX-Evil:%20y", "/in%0d%0a%0d%0aGET%20/", "/%0d%0aX-Evil:%20y",
	} {
		r := c.Get(target)
		if r.StatusCode != 200 && r.StatusCode != 404 {
			t.Errorf("%s: got %d", target, r.StatusCode)
		}
		if r.Header.Get("X-Evil") != "" || strings.Contains(r.Text, "\nX-Evil") {
			t.Errorf("%s: got %v %q", target, r.Header, r.Text)
		}
	}
}
