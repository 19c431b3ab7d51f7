package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HandshakeFailure is why a TLS handshake with a client came to nothing.
type HandshakeFailure uint8

// The failures.
const (
	// HandshakeTimeout is one that took too long.
	HandshakeTimeout HandshakeFailure = iota
	// HandshakeClosed is a client that left.
	HandshakeClosed
	// HandshakeNoCertificate is a name that there is no certificate for.
	HandshakeNoCertificate
	// HandshakeClientCertificate is a client whose certificate is missing or no good.
	HandshakeClientCertificate
	// HandshakeRefused is a client that said no: to the certificate, perhaps.
	HandshakeRefused
	// HandshakeNotTLS is a client that speaks something else.
	HandshakeNotTLS
	// HandshakeProtocol is what is none of these: no version, cipher or protocol is shared,
	// or a message is malformed.
	HandshakeProtocol
	handshakeFailures
)

// String returns the label.
func (h HandshakeFailure) String() string {
	return [...]string{
		"timeout", "closed", "no_certificate", "client_certificate", "refused", "not_tls", "protocol",
	}[h]
}

// OCSPResult is what came of asking a responder.
type OCSPResult uint8

// The results.
const (
	OCSPGood OCSPResult = iota
	OCSPRevoked
	OCSPFailed
	ocspResults
)

// String returns the label.
func (o OCSPResult) String() string { return [...]string{"good", "revoked", "failed"}[o] }

// TLS counts what becomes of handshakes with clients, and shows the certificates they are
// met with. It is a prometheus.Collector; its methods may be called from any goroutine.
type TLS struct {
	ocsp [ocspResults]atomic.Uint64

	mu        sync.Mutex
	listeners map[string]*Handshakes
	sources   map[string]Certificates
}

// Certificates are those of one source.
type Certificates struct {
	// NotAfter says of each certificate, by its label, when it ends.
	NotAfter map[string]time.Time
	// Refused is how many the source has that cannot be used.
	Refused int
}

// Handshakes counts those of one listener that failed.
type Handshakes struct {
	failed [handshakeFailures]atomic.Uint64
}

// NewTLS returns a TLS without listeners.
func NewTLS() *TLS {
	return &TLS{listeners: map[string]*Handshakes{}, sources: map[string]Certificates{}}
}

// Handshakes returns the counters of the listener called name, made at first use.
func (t *TLS) Handshakes(name string) *Handshakes {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.listeners[name]
	if h == nil {
		h = &Handshakes{}
		t.listeners[name] = h
	}
	return h
}

// Failed counts a handshake that came to nothing.
func (h *Handshakes) Failed(why HandshakeFailure) { h.failed[why].Add(1) }

// Stapling counts what came of asking a responder.
func (t *TLS) Stapling(result OCSPResult) { t.ocsp[result].Add(1) }

// Show makes the certificates of a source those given; nothing of a source that has none.
// The map stays as it is from then on.
func (t *TLS) Show(source string, c Certificates) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sources[source] = c
}

var (
	descNotAfter = prometheus.NewDesc("usher_tls_certificate_not_after_timestamp_seconds",
		"When a certificate in use ends.", []string{"cert"}, nil)
	descRefusedCerts = prometheus.NewDesc("usher_tls_refused_certificates",
		"Certificates that cannot be used; the last good version of each stays.", nil, nil)
	descHandshakeErrors = prometheus.NewDesc("usher_tls_handshake_errors_total",
		"TLS handshakes with clients that came to nothing, by reason.", []string{"listener", "reason"}, nil)
	descOCSP = prometheus.NewDesc("usher_tls_ocsp_responses_total",
		"Answers of OCSP responders, by result.", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (t *TLS) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descNotAfter, descRefusedCerts, descHandshakeErrors, descOCSP} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (t *TLS) Collect(ch chan<- prometheus.Metric) {
	t.mu.Lock()
	listeners := maps.Clone(t.listeners)
	notAfter, refused := map[string]time.Time{}, 0
	for _, c := range t.sources {
		maps.Copy(notAfter, c.NotAfter)
		refused += c.Refused
	}
	t.mu.Unlock()
	for cert, at := range notAfter {
		ch <- prometheus.MustNewConstMetric(descNotAfter, prometheus.GaugeValue, float64(at.Unix()), cert)
	}
	ch <- prometheus.MustNewConstMetric(descRefusedCerts, prometheus.GaugeValue, float64(refused))
	for name, h := range listeners {
		for why := range handshakeFailures {
			n := float64(h.failed[why].Load())
			ch <- prometheus.MustNewConstMetric(descHandshakeErrors, prometheus.CounterValue, n, name, why.String())
		}
	}
	for result := range ocspResults {
		n := float64(t.ocsp[result].Load())
		ch <- prometheus.MustNewConstMetric(descOCSP, prometheus.CounterValue, n, result.String())
	}
}
