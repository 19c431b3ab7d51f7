package routetable

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Access says who may be served by an endpoint: the rules that the instances of its
// service announced, all of which a request must pass. It is immutable; any
// goroutine may ask it. A nil one lets everybody in.
type Access struct {
	lists []accessList
	// schemes are the names of auth=, in order.
	schemes   []string
	challenge string
}

// accessList is one allow= or deny=.
type accessList struct {
	deny bool
	nets []netip.Prefix
}

// Allows says whether a request may come from where it does: its peer, and every
// address that its X-Forwarded-For fields name, must pass. Any of these may be forged,
// but only to the forger's harm. An element that is no address, an empty one included,
// does not pass. forwarded are the values of the fields as the client sent them. It
// does not allocate.
func (a *Access) Allows(peer netip.Addr, forwarded [][]byte) bool {
	if a == nil || len(a.lists) == 0 {
		return true
	}
	if !a.pass(peer) {
		return false
	}
	for _, value := range forwarded {
		for more := true; more; {
			var element []byte
			element, value, more = bytes.Cut(value, []byte(","))
			ip, ok := parseAddr(bytes.Trim(element, " \t"))
			if !ok || !a.pass(ip) {
				return false
			}
		}
	}
	return true
}

// Challenge is the value of the WWW-Authenticate field that a request is answered
// with, 401, when the rules ask for a proof of identity; empty when they do not. usher
// knows no scheme yet, so that no request has such a proof.
func (a *Access) Challenge() string {
	if a == nil {
		return ""
	}
	return a.challenge
}

// String returns the rules in the words of the tags, for people.
func (a *Access) String() string {
	if a == nil {
		return ""
	}
	var b strings.Builder
	for _, l := range a.lists {
		b.WriteString(l.word())
		before := "=ip:"
		for _, n := range l.nets {
			b.WriteString(before + n.String())
			before = ",ip:"
		}
		b.WriteByte(' ')
	}
	for _, s := range a.schemes {
		b.WriteString("auth=" + s + " ")
	}
	return strings.TrimSuffix(b.String(), " ")
}

func (l *accessList) word() string {
	if l.deny {
		return "deny"
	}
	return "allow"
}

// pass says whether an address passes all lists.
func (a *Access) pass(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for i := range a.lists {
		if !a.lists[i].pass(ip) {
			return false
		}
	}
	return true
}

func (l *accessList) pass(ip netip.Addr) bool {
	for _, n := range l.nets {
		if n.Contains(ip) {
			return !l.deny
		}
	}
	return l.deny && ip.IsValid()
}

// parseAccess reads the value of allow= or deny=: ip:10.0.0.0/8,ip:192.0.2.7. An
// address alone is a network of one.
func parseAccess(key, value string) (*Access, error) {
	list := accessList{deny: key == "deny"}
	for item := range strings.SplitSeq(value, ",") {
		kind, text, _ := strings.Cut(item, ":")
		if !strings.EqualFold(kind, "ip") {
			return nil, fmt.Errorf("%s=%q: %q is not ip: and an address or a network", key, value, item)
		}
		n, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("%s=%q: %q is neither an address nor a network", key, value, text)
		}
		list.nets = append(list.nets, n)
	}
	slices.SortFunc(list.nets, comparePrefixes)
	list.nets = slices.Compact(list.nets)
	return &Access{lists: []accessList{list}}, nil
}

// parseNetwork reads an address or a network; IPv4 in the clothes of IPv6 becomes
// IPv4, as the addresses that are looked up do.
func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, errNoNetwork
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	n, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, errNoNetwork
	}
	if !n.Addr().Is4In6() {
		return n.Masked(), nil
	}
	const mapped = 96 // the bits in front of the IPv4 address
	if n.Bits() < mapped {
		return netip.Prefix{}, errNoNetwork
	}
	return netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-mapped).Masked(), nil
}

var errNoNetwork = errors.New("no network")

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// parseAuth reads the value of auth=.
func parseAuth(value string) (*Access, error) {
	if value == "" || !printable(value) {
		return nil, fmt.Errorf("auth=%q names no scheme", value)
	}
	a := &Access{schemes: []string{value}}
	a.challenge = challengeOf(a.schemes)
	return a, nil
}

// challengeOf asks for the first of the schemes; none: it asks for nothing.
func challengeOf(schemes []string) string {
	if len(schemes) == 0 {
		return ""
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(schemes[0])
	return `Basic realm="` + quoted + `"`
}

// and returns the rules of both, each of which may be nil, without those that say the
// same.
func (a *Access) and(o *Access) *Access {
	switch {
	case a == nil || a == o:
		return o
	case o == nil:
		return a
	}
	sum := &Access{lists: slices.Clone(a.lists), schemes: slices.Concat(a.schemes, o.schemes)}
	for _, l := range o.lists {
		if !slices.ContainsFunc(sum.lists, l.equal) {
			sum.lists = append(sum.lists, l)
		}
	}
	slices.Sort(sum.schemes)
	sum.schemes = slices.Compact(sum.schemes)
	sum.challenge = challengeOf(sum.schemes)
	return sum
}

func (l accessList) equal(o accessList) bool { return l.deny == o.deny && slices.Equal(l.nets, o.nets) }
