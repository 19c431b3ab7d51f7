package resolve

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"usher/watcher"
)

// hostName returns the host and the port of an address whose host is a name; a host
// that is an IP, or an address that is no host:port, is not ok. The host is lower
// case, so that one name has one spelling.
func hostName(address string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return "", "", false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", "", false
	}
	return strings.ToLower(host), port, true
}

// hostsOf returns the names among the hosts of a list, each once; nil for none.
func hostsOf(list []watcher.Instance) (hosts []string) {
	for i := range list {
		if host, _, ok := hostName(list[i].Address); ok {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// sent is the ID of an instance as it was sent, and of the registry's instance, at a
// name, that it stands for.
type sent struct{ id, of string }

// expand returns the instances with those at a name replaced by one for each of its
// addresses, or left as they are while it has none, and the IDs of these. The list
// is not changed.
//
// The ID names the address also when there is one alone: so the first address stays
// who it is when a second one comes. The weight is divided, so that the instance has
// the share the registry gave it.
func expand(list []watcher.Instance, addrs func(host string) []netip.Addr) (out []watcher.Instance, ids []sent) {
	out = make([]watcher.Instance, 0, len(list))
	for _, in := range list {
		host, port, ok := hostName(in.Address)
		if !ok {
			out = append(out, in)
			continue
		}
		at := addrs(host)
		if len(at) == 0 {
			out = append(out, in)
			ids = append(ids, sent{in.ID, in.ID})
			continue
		}
		one := in
		one.Weight = in.Weight / float64(len(at))
		for _, ip := range at {
			one.ID = in.ID + "#" + ip.String()
			one.Address = net.JoinHostPort(ip.String(), port)
			out = append(out, one)
			ids = append(ids, sent{one.ID, in.ID})
		}
	}
	return out, ids
}

// excuse returns the IDs that may be missing from now, though they were sent before,
// while the registry still lists or excuses the instance they stood for: those of
// addresses that DNS no longer gives, and of instances whose name had no address.
// Their absence is no loss of the registry's.
func excuse(before, now []sent, u *watcher.Update) (excused []string) {
	stays := make(map[string]bool, len(now))
	for _, s := range now {
		stays[s.id] = true
	}
	listed := make(map[string]bool, len(u.Instances)+len(u.Excused))
	for i := range u.Instances {
		listed[u.Instances[i].ID] = true
	}
	for _, id := range u.Excused {
		listed[id] = true
	}
	for _, s := range before {
		if listed[s.of] && !stays[s.id] && s.id != s.of {
			excused = append(excused, s.id)
		}
	}
	for _, s := range now {
		// An earlier run, or an earlier address, may have been known by this ID.
		if !stays[s.of] {
			excused = append(excused, s.of)
			stays[s.of] = true
		}
	}
	return excused
}
