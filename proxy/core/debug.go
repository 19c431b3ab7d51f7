package core

import (
	"net/netip"
	"slices"
	"strconv"

	"usher/proxy/wire"
)

// debugName is the field by which a client asks how its request is routed.
const debugName = "X-Usher-Debug"

// AppendDebug appends the fields that tell how the request was routed, as lines, where its
// client asked for them and may know.
func (x *Exchange) AppendDebug(dst []byte) []byte {
	if x.Flags&wire.HasDebug == 0 || len(x.Listener.debuggers) == 0 || !x.mayDebug() {
		return dst
	}
	if x.table != nil {
		dst = strconv.AppendUint(append(dst, "X-Usher-Generation: "...), x.table.Version, 10)
		dst = append(dst, "\r\n"...)
	}
	if x.route != nil {
		dst = appendLine(dst, "X-Usher-Route: ", x.route.ID)
	}
	if x.endpoint >= 0 {
		e := x.cluster.Endpoints[x.endpoint]
		dst = appendLine(dst, "X-Usher-Endpoint: ", e.Address+"; id="+e.ID)
	}
	dst = strconv.AppendInt(append(dst, "X-Usher-Attempts: "...), int64(x.tries()), 10)
	return append(dst, "\r\n"...)
}

// mayDebug says whether the client asked, and may.
func (x *Exchange) mayDebug() bool {
	value, ok := x.Source.Field("x-usher-debug", 0)
	if !ok || string(value) != "1" && string(value) != "true" {
		return false
	}
	ip, err := netip.ParseAddr(string(x.clientIP()))
	return err == nil && slices.ContainsFunc(x.Listener.debuggers, func(p netip.Prefix) bool {
		return p.Contains(ip.Unmap().WithZone(""))
	})
}

// appendLine appends a field. What registries call things may be anything.
func appendLine(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	for i := range len(value) {
		if c := value[i]; c < ' ' || c >= 0x7f {
			dst = append(dst, '?')
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, "\r\n"...)
}
