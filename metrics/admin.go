package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Admin counts what is asked of the operators' listeners.
type Admin struct{ requests *prometheus.CounterVec }

func newAdmin(r prometheus.Registerer) *Admin {
	return &Admin{counterVec(r, "admin_requests_total",
		"Requests of the admin and telemetry listeners, by endpoint and status.", "path", "code")}
}

// Asked counts a request. path is the pattern of the endpoint, never what was asked for.
// Any goroutine may call it.
func (a *Admin) Asked(path string, code int) {
	a.requests.WithLabelValues(path, strconv.Itoa(code)).Inc()
}
