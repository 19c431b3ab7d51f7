package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"usher/metrics"
)

// Failure says why a handshake came to nothing, by the error of tls.Conn.Handshake.
func Failure(err error) metrics.HandshakeFailure {
	var unverified *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return metrics.HandshakeTimeout
	case errors.Is(err, ErrNoCertificate):
		return metrics.HandshakeNoCertificate
	case errors.As(err, &unverified), isUnasked(err):
		return metrics.HandshakeClientCertificate
	case errors.As(err, &header):
		return metrics.HandshakeNotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return metrics.HandshakeRefused // an alert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return metrics.HandshakeClosed
	default:
		return metrics.HandshakeProtocol
	}
}

// isUnasked says whether a client did not show a certificate where one is required.
// crypto/tls has no other way to tell than the text; a test sees to it that it stays.
func isUnasked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "client didn't provide a certificate")
}
