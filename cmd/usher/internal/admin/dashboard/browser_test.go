package dashboard_test

import (
	"testing"

	"usher/cmd/usher/internal/browsertest"
)

// Every page in every state that a double can show, in light, dark and narrow.
func TestDashboardPages(t *testing.T) {
	t.Parallel()
	browsertest.Play(t, newDouble(t).URL, "pages", nil)
}

// A name that would be a script is a text.
func TestDashboardHostileNames(t *testing.T) {
	t.Parallel()
	browsertest.Play(t, newDouble(t).URL, "hostile", nil)
}

func TestDashboardToken(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.token = "open sesame"
	browsertest.Play(t, d.URL, "token", browsertest.Deeds{"event": d.happen})
}

func TestDashboardKeyboard(t *testing.T) {
	t.Parallel()
	browsertest.Play(t, newDouble(t).URL, "keyboard", nil)
}

// Pins, holds, comparison, the theme, events; nothing is asked while nobody looks.
func TestDashboardUse(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	browsertest.Play(t, d.URL, "use", browsertest.Deeds{"event": d.happen, "restart": d.restart})
}

func TestDashboardUnreachable(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	browsertest.Play(t, d.URL, "unreachable", browsertest.Deeds{
		"go":     func(string) error { d.be(true); return nil },
		"return": func(string) error { d.be(false); return nil },
	})
}
