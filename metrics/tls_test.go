package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func TestTLS(t *testing.T) {
	m := NewTLS()
	at := time.Unix(1_800_000_000, 0)
	m.Show("files", Certificates{NotAfter: map[string]time.Time{"a.crt": at, "b.crt": at.Add(time.Hour)}, Refused: 1})
	m.Show("acme", Certificates{NotAfter: map[string]time.Time{"c.example": at}, Refused: 1})
	m.Show("files", Certificates{NotAfter: map[string]time.Time{"a.crt": at}, Refused: 2})
	h := m.Handshakes("web")
	h.Failed(HandshakeTimeout)
	m.Handshakes("web").Failed(HandshakeTimeout)
	h.Failed(HandshakeProtocol)
	m.Stapling(OCSPRevoked)

	r := prometheus.NewRegistry()
	r.MustRegister(m)
	want := map[string]float64{
		`usher_tls_certificate_not_after_timestamp_seconds{cert="a.crt"}`:     1.8e9,
		`usher_tls_certificate_not_after_timestamp_seconds{cert="c.example"}`: 1.8e9,
		`usher_tls_refused_certificates`:                                      3,
		`usher_tls_ocsp_responses_total{result="good"}`:                       0,
		`usher_tls_ocsp_responses_total{result="revoked"}`:                    1,
		`usher_tls_ocsp_responses_total{result="failed"}`:                     0,
	}
	for reason, n := range map[string]float64{
		"timeout": 2, "closed": 0, "no_certificate": 0, "client_certificate": 0, "refused": 0,
		"not_tls": 0, "protocol": 1,
	} {
		want[`usher_tls_handshake_errors_total{listener="web",reason="`+reason+`"}`] = n
	}
	same(t, scrape(t, promhttp.HandlerFor(r, promhttp.HandlerOpts{})), want)
}
