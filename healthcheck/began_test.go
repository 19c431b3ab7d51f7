package healthcheck

import (
	"testing"
	"time"
)

// A head alone takes a silent endpoint back. It does not stand a probation, which its end
// does or does not.
func TestBegan(t *testing.T) {
	began := Outcome{Kind: Began, Status: 200}
	for name, c := range map[string]struct {
		faults []Outcome
		end    Outcome
		state  State
	}{
		"fails again": {repeated(Outcome{Status: 500}, 5), Outcome{Status: 500}, Ejected},
		"goes well":   {repeated(Outcome{Status: 500}, 5), ok(), Healthy},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up("a", "b", "c"), func(b *bench) {
				b.see("a", c.faults...)
				b.see("a", began)
				b.is("a", Ejected, true)
				b.advance(2 * time.Second)
				b.see("a", began)
				b.is("a", Probation, false)
				b.see("a", c.end)
				b.is("a", c.state, c.state == Ejected)
			})
		})
	}
	for name, faults := range map[string][]Outcome{
		"timeouts": repeated(Outcome{Kind: TimedOut}, 2), "no connection": {failed()},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up("a", "b", "c"), func(b *bench) {
				b.see("a", faults...)
				b.is("a", Ejected, true)
				b.see("a", began)
				b.is("a", Healthy, false)
			})
		})
	}
}
