package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// splitAddress splits host:port, where the host may be empty, a name or an IP
// address, the port a number from least to 65535.
func splitAddress(address string, least uint64) (host string, port uint64, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, addressHint(address, least)
	}
	port, err = strconv.ParseUint(text, 10, 16)
	if err != nil || port < least {
		return "", 0, fmt.Errorf("address %q: port %q is not a number from %d to 65535",
			shorten(address), shorten(text), least)
	}
	if _, err := netip.ParseAddr(host); host == "" || err == nil {
		return host, port, nil
	}
	if err := checkName(host, false); err != nil {
		return "", 0, fmt.Errorf("address %q: %w", shorten(address), err)
	}
	return host, port, nil
}

// addressHint explains why an address is no host:port.
func addressHint(address string, least uint64) error {
	_, err := strconv.ParseUint(address, 10, 16)
	switch {
	case strings.Contains(address, "://"):
		return fmt.Errorf("address %q has a scheme, expected host:port", shorten(address))
	case strings.Count(address, ":") > 1 && !strings.Contains(address, "["):
		return fmt.Errorf("address %q: an IPv6 address needs brackets, as in [::1]:8080", shorten(address))
	case err == nil && least == 0:
		return fmt.Errorf("address %q is only a port: write %q", address, ":"+address)
	case least == 0:
		return fmt.Errorf("address %q is not host:port or :port", shorten(address))
	}
	return fmt.Errorf("address %q is not host:port", shorten(address))
}

// checkHost checks what a Host field may hold: a name or an IP address, IPv6 in
// brackets, with or without a port. A pattern may contain *.
func checkHost(host string, pattern bool) error {
	err := checkHostPort(host, pattern)
	if err != nil {
		return fmt.Errorf("host %q %w", shorten(host), err)
	}
	return nil
}

func checkHostPort(host string, pattern bool) error {
	switch {
	case strings.Contains(host, "://"):
		return errors.New("has a scheme: write the name alone")
	case strings.Contains(host, "/"):
		return errors.New("has a path: write the name alone")
	case strings.HasPrefix(host, "["):
		return checkBracketed(host)
	}
	name, port, hasPort := strings.Cut(host, ":")
	if strings.Contains(port, ":") {
		return errors.New("is not a name: an IPv6 address needs brackets, as in [::1]")
	}
	if hasPort && !isPort(port) {
		return fmt.Errorf("has the port %q, which is not a number from 1 to 65535", shorten(port))
	}
	return checkName(name, pattern)
}

func checkBracketed(host string) error {
	inner, port, closed := strings.Cut(host[1:], "]")
	ip, err := netip.ParseAddr(inner)
	if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
		return errors.New("is not an IPv6 address in brackets")
	}
	if port != "" && (port[0] != ':' || !isPort(port[1:])) {
		return fmt.Errorf("has %q after the bracket, which is not a port", shorten(port))
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// checkName checks a DNS name, with _ for what is found in practice.
func checkName(name string, pattern bool) error {
	if name == "" {
		return errors.New("is empty")
	}
	for _, r := range name {
		switch {
		case r == '*' && !pattern:
			return errors.New("contains a *, which has no meaning here")
		case r >= 0x80:
			return errors.New("is not ASCII: write it in the xn-- form")
		case !isNameByte(byte(r)) && r != '*':
			return fmt.Errorf("contains %q, which no host name does", r)
		}
	}
	if strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
		return errors.New("has an empty label")
	}
	return nil
}

func isNameByte(c byte) bool {
	return isLetter(c) || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

// isToken says whether s is a token of RFC 9110: what methods and field names
// are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// hasSpace says whether s contains a space or a control character.
func hasSpace(s string) bool {
	return strings.Contains(s, " ") || hasControl(s)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// lowerASCII lower-cases letters and keeps every other byte, valid UTF-8 or not.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}
