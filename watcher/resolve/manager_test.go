package resolve

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/watcher"
)

// TestGuardSeesNoLoss: that DNS gives other addresses is no loss of the registry's,
// even while its answers are in doubt; that it no longer lists an instance is.
func TestGuardSeesNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &book{pages: map[string]page{}, asked: map[string][]time.Time{}}
		d := &double{make(chan any)}
		m := watcher.NewManager(slog.New(slog.DiscardHandler), metrics.New("test", nil).Discovery)
		defer m.Close()
		guard := config.Guard{
			Enabled: true, ServiceShare: 0.1, CatalogShare: 0.1, Window: time.Minute, MinEndpoints: 1, MinCatalog: 1000,
		}
		m.Apply([]watcher.Source{{
			Name: "dns", Spec: 1, Guard: &guard, StartTimeout: time.Second,
			New: func() (watcher.Discoverer, error) { return wrap(d, Options{}.withDefaults(), k.lookup), nil },
		}}, nil)
		send := func(addresses ...string) {
			u := update("web", addresses...)
			u.Suspect = "the test says so"
			d.feed <- u
			synctest.Wait()
		}
		want := func(what string, listed, held int) {
			t.Helper()
			synctest.Wait()
			s := m.Services()
			if len(s) != 1 || s[0].Listed != listed || s[0].Held != held {
				t.Errorf("%s: got %+v, want %d listed and %d held", what, s, listed, held)
			}
		}
		send("a.test:80", "10.9.9.9:80")
		want("by name", 2, 0)
		k.write("a.test", time.Second, "10.0.0.1", "10.0.0.2")
		watcher.Sleep(t.Context(), time.Second)
		want("resolved", 3, 0)
		k.write("a.test", time.Second, "10.0.0.3")
		watcher.Sleep(t.Context(), 2*time.Second)
		want("other addresses", 2, 0)
		send("10.9.9.9:80", "10.9.9.8:80")
		want("no name any more", 2, 0)
		send("a.test:80", "10.9.9.8:80")
		want("a name again", 2, 0)
		send("10.9.9.9:80")
		want("the registry's loss", 1, 1)
	})
}
