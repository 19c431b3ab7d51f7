package watcher

import (
	"slices"
	"strconv"
	"strings"
)

// The meta keys by which an instance speaks to usher.
const (
	// MetaRoute announces rules; so do MetaRoute-2 and so on.
	MetaRoute = "usher-route"
	// MetaWeight is the instance's share relative to the others.
	MetaWeight = "usher-weight"
	// MetaEnable keeps the instance out when it is false. When it is true the instance
	// takes part though it announces no rule: see OptedIn.
	MetaEnable = "usher-enable"
	// MetaPort chooses the instance's port: the name of one of its ports, or a number.
	MetaPort = "usher-port"
	// MetaConnect asks, when it is true, to be reached over the registry's service mesh.
	MetaConnect = "usher-connect"
	// MetaZone is the zone the instance runs in.
	MetaZone = "usher-zone"
)

// TagEnable is the tag that says what MetaEnable says when it is true; tagDisable the
// opposite.
const (
	TagEnable  = MetaEnable + "=true"
	tagDisable = MetaEnable + "=false"
)

// tagConnect is the tag that says what MetaConnect says when it is true.
const tagConnect = MetaConnect + "=true"

// Announcements returns what the tags that begin with prefix and the meta keys
// announce, tags first, each in a fixed order.
func Announcements(prefix string, tags []string, meta map[string]string) []Announcement {
	var out []Announcement
	for _, tag := range tags {
		if text, ok := strings.CutPrefix(tag, prefix); ok {
			out = append(out, Announcement{Origin: FromTag, Where: tag, Text: strings.TrimSpace(text)})
		}
	}
	keys := make([]string, 0, len(meta))
	for key := range meta {
		if key == MetaRoute || strings.HasPrefix(key, MetaRoute+"-") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		for text := range strings.SplitSeq(meta[key], ";") {
			if text = strings.TrimSpace(text); text != "" {
				out = append(out, Announcement{Origin: FromMeta, Where: key, Text: text})
			}
		}
	}
	return out
}

// maxWeight bounds the usher-weight of an instance.
const maxWeight = 1e6

// Weight returns weight times what the meta asks for; a value that is no weight
// counts as 1.
func Weight(weight float64, meta map[string]string) float64 {
	if w, err := strconv.ParseFloat(meta[MetaWeight], 64); err == nil && w >= 0 && w <= maxWeight {
		return weight * w
	}
	return weight
}

// Enabled says whether the meta lets the instance take part.
func Enabled(meta map[string]string) bool { return meta[MetaEnable] != "false" }

// OptedIn says whether the tags or the meta ask for the instance to take part though
// it may announce no rule.
func OptedIn(tags []string, meta map[string]string) bool {
	return meta[MetaEnable] == "true" || slices.Contains(tags, TagEnable)
}

// OptedOut says whether the tags or the meta keep the instance out. It counts for more
// than OptedIn.
func OptedOut(tags []string, meta map[string]string) bool {
	return !Enabled(meta) || slices.Contains(tags, tagDisable)
}

// AsksForMesh says whether the tags or the meta ask for the instance to be reached over
// the registry's service mesh.
func AsksForMesh(tags []string, meta map[string]string) bool {
	return meta[MetaConnect] == "true" || slices.Contains(tags, tagConnect)
}
