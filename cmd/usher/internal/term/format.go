package term

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Ago says how long something lasted or is ago, in its two largest units at most.
func Ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// Seconds writes a time a request took with three digits: 870µs, 12.3ms, 1.50s.
func Seconds(s float64) string {
	switch {
	case s <= 0 || math.IsNaN(s) || math.IsInf(s, 0):
		return "–"
	case s < 1e-3:
		return fmt.Sprintf("%.0fµs", s*1e6)
	case s < 10e-3:
		return fmt.Sprintf("%.2fms", s*1e3)
	case s < 100e-3:
		return fmt.Sprintf("%.1fms", s*1e3)
	case s < 1:
		return fmt.Sprintf("%.0fms", s*1e3)
	default:
		return fmt.Sprintf("%.2fs", s)
	}
}

// Rate writes a number a second: 0, 0.4, 12, 1.2k, 3.4M.
func Rate(n float64) string {
	switch {
	case n <= 0 || math.IsNaN(n) || math.IsInf(n, 0):
		return "0"
	case n < 9.95:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0")
	case n < 9995:
		return fmt.Sprintf("%.0f", n)
	case n < 999.5e3:
		return fmt.Sprintf("%.1fk", n/1e3)
	default:
		return fmt.Sprintf("%.1fM", n/1e6)
	}
}

// Count writes a whole number with its thousands apart.
func Count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// StateStyle is how a word for a state is shown: good ones green, those that stop requests
// red, the others in between.
func StateStyle(state string) Style {
	switch state {
	case "healthy", "passing", "ok", "fresh", "routed", "ready", "won", "up", "synced":
		return Good
	case "ejected", "unhealthy", "critical", "refused", "down", "lost", "error", "unreachable", "not ready":
		return Bad
	case "":
		return Plain
	default:
		return Warn
	}
}
