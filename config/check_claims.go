package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

func (c *checker) claims(claims []Claim) {
	taken := map[[2]string]string{}
	for i, cl := range claims {
		at := index("claims", i)
		c.claim(cl, at)
		key := [2]string{cl.Host, strings.TrimSuffix(cl.Path, "/")} // /a/ covers what /a does
		first, twice := taken[key]
		switch {
		case c.failed[child(at, "host")] || c.failed[child(at, "path")] || cl.Host == "" && cl.Path == "":
		case twice:
			c.bad(at, "%q is already claimed at %s", shorten(cl.Host+cl.Path), c.where.of(first))
		default:
			taken[key] = at
		}
	}
}

func (c *checker) claim(cl Claim, at string) {
	if cl.Host == "" && cl.Path == "" {
		c.required(at, "host", "claim has neither host nor path")
	}
	if cl.Host != "" {
		if err := checkClaimHost(cl.Host); err != nil {
			c.bad(child(at, "host"), "%v", err)
		}
	}
	c.plainPath(child(at, "path"), cl.Path)
	if len(cl.Services) == 0 {
		c.required(at, "services", "claim has no services: it would refuse everybody")
	}
	for i, s := range cl.Services {
		c.name(index(child(at, "services"), i), "service", s)
	}
}

// checkClaimHost checks a host name, *. before one, or * alone; it has no port: a claim
// covers them all. A port alone is that of the connections to it.
func checkClaimHost(host string) error {
	if host == "*" {
		return nil
	}
	if port, ok := strings.CutPrefix(host, ":"); ok && !strings.Contains(port, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("host %q is not a port", shorten(host))
		}
		return nil
	}
	name := strings.TrimPrefix(host, "*.")
	err := checkHostPort(name, false)
	switch {
	case name == "":
		err = errors.New("has no name after its star; a * alone means every host")
	case strings.Contains(name, "*"):
		err = errors.New("has a * that neither stands alone nor before the first dot")
	case err == nil && strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, ']'):
		err = errors.New("has a port: a claim covers all ports")
	}
	if err != nil {
		return fmt.Errorf("host %q %w", shorten(host), err)
	}
	return nil
}
