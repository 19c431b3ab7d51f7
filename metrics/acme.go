package metrics

import "github.com/prometheus/client_golang/prometheus"

// ACMEResult is what came of an attempt to get a certificate.
type ACMEResult uint8

// The results.
const (
	// ACMEObtained is a first certificate for a name, ACMERenewed a further one.
	ACMEObtained ACMEResult = iota
	ACMERenewed
	// ACMEFailed is an attempt that the authority, or the way to it, brought to nothing.
	ACMEFailed
	acmeResults
)

// String returns the label.
func (r ACMEResult) String() string { return [...]string{"obtained", "renewed", "failed"}[r] }

// ACME counts the certificates asked for by ACME. Its methods may be called from any
// goroutine.
type ACME struct {
	certificates [acmeResults]prometheus.Counter
}

func newACME(r prometheus.Registerer) *ACME {
	v := counterVec(r, "acme_certificates_total",
		"Attempts of this usher to get a certificate by ACME, by result.", "result")
	a := &ACME{}
	for i := range a.certificates {
		a.certificates[i] = v.WithLabelValues(ACMEResult(i).String())
	}
	return a
}

// Asked counts an attempt.
func (a *ACME) Asked(result ACMEResult) { a.certificates[result].Inc() }
