package core

import (
	"bytes"
	"strconv"

	"usher/proxy/wire"
)

// challenges is where the authorities of ACME look for proofs over plain HTTP (RFC 8555
// §8.3).
const challenges = "/.well-known/acme-challenge/"

// toHTTPS makes Own a redirect to https where the listener sends its clients there, and
// says whether it does. Those who came by https to the proxy in front are there already.
func (x *Exchange) toHTTPS() (yes bool, reason Reason) {
	r := x.Listener.RedirectHTTPS
	if r == nil || isChallenge(wire.Path(x.Target)) || x.scheme() == "https" {
		return false, None
	}
	host, _ := wire.SplitHost(x.Host)
	if len(host) == 0 {
		return true, BadRequest // HTTP/1.0: it is not known where it is
	}
	b := x.scratch.own[:0]
	b = append(b, "X-Usher-Reason: "+wordRedirect+"\r\nLocation: https://"...)
	b = append(b, host...)
	if r.Port != 443 {
		b = strconv.AppendInt(append(b, ':'), int64(r.Port), 10)
	}
	b = append(append(b, x.Target...), "\r\n"...)
	x.scratch.own = b
	x.own, x.word = Own{Status: r.Code, Fields: b}, wordRedirect
	return true, Answered
}

// isChallenge says whether a path is that of a proof: a token of base64url and no more, so
// that nothing else is served without TLS under its cover.
func isChallenge(path []byte) bool {
	token, ok := bytes.CutPrefix(path, []byte(challenges))
	if !ok || len(token) == 0 {
		return false
	}
	for _, c := range token {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
