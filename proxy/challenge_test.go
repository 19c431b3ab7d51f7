package proxy_test

import (
	"sync/atomic"
	"testing"

	"usher/proxy/proxytest"
)

// TestChallenge: the answers to an ACME server come before any route, and nothing else
// changes.
func TestChallenge(t *testing.T) {
	const path, key = "/.well-known/acme-challenge/", "token.thumbprint"
	u := proxytest.Start(t, proxytest.Options{
		Services: proxytest.Origins(proxytest.Answering(t, proxytest.OK).Addr),
	})
	client := u.Dial()
	want := func(status int, text, method, target, host string) {
		t.Helper()
		client.Send("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host)
		r := client.Read(method)
		if r.StatusCode != status || text != "" && r.Text != text {
			t.Errorf("%s %s of %s: got %s %q, want %d %q", method, target, host, r.Status, r.Text, status, text)
		}
		if reason := r.Header.Get("X-Usher-Reason"); r.Text == key && reason != "" {
			t.Errorf("a reason is told: %q", reason)
		}
	}
	want(200, "ok", "GET", path+"token", "shop.example.com")
	var asked atomic.Int32
	u.Proxy.Answer(func(host, p string) ([]byte, bool) {
		asked.Add(1)
		return []byte(key), host == "shop.example.com" && p == path+"token"
	})
	want(200, key, "GET", path+"token", "shop.example.com")
	want(200, key, "GET", path+"token?x=1", "Shop.Example.com:80")
	want(200, key, "GET", "http://shop.example.com"+path+"token", "shop.example.com")
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	want(200, "ok", "GET", path+"other", "shop.example.com")
	want(200, "ok", "GET", path+"token", "example.com")
	want(200, "ok", "GET", path, "shop.example.com")
	want(200, "ok", "GET", "/x"+path+"token", "shop.example.com")
	want(200, "ok", "POST", path+"token", "shop.example.com")
	u.Publish()
	want(404, "", "GET", path+"other", "shop.example.com")
	want(200, key, "GET", path+"token", "shop.example.com")
	u.Proxy.Answer(nil)
	want(404, "", "GET", path+"token", "shop.example.com")
	u.Quiet()
}
