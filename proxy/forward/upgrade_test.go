package forward

import (
	"testing"

	"github.com/valyala/fasthttp"

	"usher/proxy/wire"
)

// A 101 is to the protocol that was asked for and to no other.
func FuzzAgreed(f *testing.F) {
	for _, s := range []string{"websocket", "WebSocket", " websocket,", "websocket, h2c", "", "h2c", "websocke\x14"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		trip := &Trip{Upgrade: []byte("websocket")}
		trip.resp.Set(fasthttp.HeaderUpgrade, value)
		tokens, same := 0, false
		wire.Tokens([]byte(value), func(b []byte) {
			tokens++
			same = wire.EqualFold(b, "websocket")
		})
		if got, want := trip.agreed(), tokens == 1 && same; got != want {
			t.Errorf("%q: got %t, want %t", value, got, want)
		}
	})
}
