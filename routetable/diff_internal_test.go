package routetable

import "testing"

// What an instance's meta may keep secret is in no diff.
func TestMetaKeepsSecrets(t *testing.T) {
	t.Parallel()
	got := metaText(map[string]string{"version": "v2", "api-token": "x"})
	if got != "api-token=redacted, version=v2" {
		t.Errorf("got %q", got)
	}
}
