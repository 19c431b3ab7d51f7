package core

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"usher/config"
	"usher/proxy/wire"
)

// Identify notes who the client is by the certificate it showed, where the listener tells
// endpoints of it. It is called once a connection, after the handshake, before any request.
func (l *Listener) Identify(p *Peer, s *tls.ConnectionState) {
	auth := &l.TLS.ClientAuth
	if l.AccessLog {
		p.TLS = describeTLS(s, auth.Forward)
	}
	if auth.Header == "" || len(s.PeerCertificates) == 0 {
		return
	}
	if text := identityOf(s.PeerCertificates[0], auth.Forward); text != "" {
		p.Identity = Field{Name: textproto.CanonicalMIMEHeaderKey(auth.Header), Text: text}
	}
}

// identityOf is what endpoints are told of a certificate; empty: it does not say. All of
// it can stand in a field.
func identityOf(c *x509.Certificate, forward string) string {
	switch forward {
	case config.ForwardURI:
		if len(c.URIs) == 0 {
			return ""
		}
		return escape(c.URIs[0].String(), "%")
	case config.ForwardPEM:
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		// %20, not +: that stays a plus sign for who decodes paths.
		return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
	case config.ForwardFingerprint:
		sum := sha256.Sum256(c.Raw)
		return hex.EncodeToString(sum[:])
	default:
		return escape(c.Subject.String(), `\`)
	}
}

// escape writes the bytes that a field had better not hold in hexadecimal behind a mark:
// in a distinguished name as RFC 4514 §2.4 has it, in a URI as RFC 3986 §2.1 does.
func escape(s, mark string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f || c == ' ' && mark == `\` }
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(mark + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// Reserve makes fields usher's own to send: what clients send in them is taken out from
// the next request on, on every listener, before anything looks at it. A name once
// reserved stays so, because connections that began under an older configuration may
// still be identified in it. Any goroutine may call it.
func (c *Core) Reserve(names []string) {
	for {
		old := c.reserved.Load()
		all := reserve(old, names)
		if all == old || c.reserved.CompareAndSwap(old, all) {
			return
		}
	}
}

// reserve returns old with the names that it lacks.
func reserve(old *[]string, names []string) *[]string {
	var all []string
	if old != nil {
		all = append(all, *old...)
	}
	had := len(all)
	for _, name := range names {
		name = strings.ToLower(name)
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) == had {
		return old
	}
	return &all
}

// forges says whether the client sent a reserved field. Its spelling with underscores is no
// matter: a head with any in a name goes on by way of the codec.
func (x *Exchange) forges() bool {
	for _, name := range *x.reserved {
		if x.Source.HasField(name) {
			return true
		}
	}
	return false
}

// disown takes what the client sent in reserved fields out of its head, and what
// upstreams that fold underscores would take for one of them.
func (x *Exchange) disown() {
	for _, name := range *x.reserved {
		x.Head.Del(name)
	}
	if x.Flags&wire.HasUnderscore == 0 {
		return
	}
	var forged [][]byte
	for key := range x.Head.All() {
		for _, name := range *x.reserved {
			if alike(key, name) {
				forged = append(forged, bytes.Clone(key))
			}
		}
	}
	for _, key := range forged {
		x.Head.DelBytes(key)
	}
}

// alike says whether a name is one in lower case but for its case, and underscores in the
// place of hyphens.
func alike(key []byte, name string) bool {
	if len(key) != len(name) {
		return false
	}
	for i, c := range key {
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
