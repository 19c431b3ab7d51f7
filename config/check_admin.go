package config

import (
	"net/netip"
	"path/filepath"
	"strings"
)

// unixScheme begins an address that is the path of a socket.
const unixScheme = "unix://"

// minToken is the least length of a token, in bytes: it stands between a network and a drain.
const minToken = 16

// admin checks the operators' listener.
func (c *checker) admin(a Admin, addresses map[string]string) {
	if path, ok := strings.CutPrefix(a.Address, unixScheme); !ok {
		c.listen("admin.address", a.Address, addresses)
	} else if !filepath.IsAbs(path) || path != filepath.Clean(path) {
		c.bad("admin.address", "address %q is not unix:// and the absolute path of a socket", shorten(a.Address))
	}
	for i, host := range a.AllowedHosts {
		if err := checkHost(host, false); err != nil {
			c.bad(index("admin.allowed_hosts", i), "%v", err)
		}
	}
	for _, key := range []string{"admin.token", "admin.token_file"} {
		if !c.where.given(key) {
			continue
		}
		if len(a.Token) < minToken {
			c.bad(key, "token must have at least %d bytes, found %d", minToken, len(a.Token))
		} else if strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			c.bad(key, "token contains a space, or what is not ASCII")
		}
	}
}

// warnings tell of a listener that others than this machine may reach without a token.
func (a *Admin) warnings() []string {
	if a.Token != "" || a.local() {
		return nil
	}
	return []string{"admin.address: " + a.Address + " is not loopback and there is no token: " +
		"whoever reaches it may read everything and drain usher"}
}

// local says whether only this machine reaches the listener.
func (a *Admin) local() bool {
	if strings.HasPrefix(a.Address, unixScheme) {
		return true
	}
	host, _, err := splitAddress(a.Address, 0)
	if err != nil {
		return true // it is refused
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
