package fabio

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// kvEntry is one key of Consul's store, as `consul kv export` and the HTTP API
// write it.
type kvEntry struct {
	Key   string
	Value []byte
}

// KV is what a dump of Consul's key-value store holds for Fabio.
type KV struct {
	// Texts are the route commands, in the order Fabio runs them.
	Texts []Text
	// Ignored are the keys that hold none.
	Ignored []string
}

// ParseKV parses a dump: the JSON of `consul kv export`, of which the keys that begin
// with path count, or route commands as plain text. Name is what to call the latter in
// the report. It fails for JSON that is no dump.
func ParseKV(name string, data []byte, path string) (KV, error) {
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '[' {
		return KV{Texts: []Text{{name, string(data)}}}, nil
	}
	var entries []kvEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return KV{}, fmt.Errorf("%s is not the output of consul kv export: %w", name, err)
	}
	return kvOf(entries, path), nil
}

// kvOf sorts the entries as Consul lists them and takes those under path.
func kvOf(entries []kvEntry, path string) (kv KV) {
	slices.SortStableFunc(entries, func(a, b kvEntry) int { return cmp.Compare(a.Key, b.Key) })
	path = strings.TrimPrefix(path, "/")
	for _, e := range entries {
		if strings.HasPrefix(e.Key, path) {
			kv.Texts = append(kv.Texts, Text{"kv " + e.Key, strings.TrimSpace(string(e.Value))})
		} else {
			kv.Ignored = append(kv.Ignored, e.Key)
		}
	}
	return kv
}
