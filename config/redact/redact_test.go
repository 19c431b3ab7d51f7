package redact

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

func TestHeader(t *testing.T) {
	r := New([]string{"X-Badge"}, nil)
	for name, secret := range map[string]bool{
		"Authorization": true, "authorization": true, "Proxy-Authorization": true, "Cookie": true, "Set-Cookie": true,
		"X-Api-Key": true, "X-Auth-Token": true, "X-CSRF-Token": true, "X-Consul-Token": true, "X-Vault-Token": true,
		"X-Badge": true, "x-badge": true, "Client_Secret": true,
		"Accept": false, "User-Agent": false, "X-Request-Id": false, "Host": false, "X-Beta": false, "Key": false,
	} {
		want := "v"
		if secret {
			want = Mask
		}
		if got := r.Header(name, "v"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := r.Header("Authorization", ""); got != "" {
		t.Errorf("an empty value became %q", got)
	}
}

func TestAppendTarget(t *testing.T) {
	r := New(nil, []string{"badge"})
	for target, want := range map[string]string{
		"/":                               "/",
		"/token/abc":                      "/token/abc",
		"/?":                              "/?",
		"/?a=1&b=2":                       "/?a=1&b=2",
		"/?access_token=x":                "/?access_token=REDACTED",
		"/p?a=1&token=x&b=2":              "/p?a=1&token=REDACTED&b=2",
		"/p?a=1;token=x;b=2":              "/p?a=1;token=REDACTED;b=2",
		"/?Client-Secret=x=y":             "/?Client-Secret=REDACTED",
		"/?to%6ben=x":                     "/?to%6ben=REDACTED",
		"/?token":                         "/?token",
		"/?token=":                        "/?token=",
		"/?X-Amz-Signature=a&X-Amz-Date=": "/?X-Amz-Signature=REDACTED&X-Amz-Date=",
		"/?badge=7&code=8&barcode=9":      "/?badge=REDACTED&code=REDACTED&barcode=9",
		"/?%=1&%zz=2":                     "/?%=1&%zz=2",
		"/?u=http://h/?password=x":        "/?u=http://h/?password=x",
	} {
		if got := string(r.AppendTarget(nil, []byte(target))); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// Whatever the target, what is not the value of a secret parameter stays, and no such
// value is left.
func FuzzAppendTarget(f *testing.F) {
	for _, s := range []string{"/", "/a?b=c", "/?token=x&a=%41", "/?%74oken=x;key", "?&&=;=&secret==&"} {
		f.Add([]byte(s))
	}
	r := New(nil, nil)
	f.Fuzz(func(t *testing.T, target []byte) {
		got := r.AppendTarget([]byte("dst"), target)
		if !bytes.HasPrefix(got, []byte("dst")) {
			t.Fatalf("what was there is gone: %q", got)
		}
		got = got[3:]
		if again := r.AppendTarget(nil, got); !bytes.Equal(again, got) {
			t.Fatalf("%q becomes %q when it is redacted again", got, again)
		}
		path, _, _ := bytes.Cut(target, []byte("?"))
		if !bytes.HasPrefix(got, path) {
			t.Fatalf("%q has lost the path of %q", got, target)
		}
		_, query, _ := strings.Cut(string(got), "?")
		for _, pair := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
			name, value, _ := strings.Cut(pair, "=")
			if plain, err := url.PathUnescape(name); err == nil && value != "" && value != Mask &&
				strings.Contains(strings.ToLower(plain), "token") {
				t.Fatalf("%q tells the value of %q", got, name)
			}
		}
	})
}
