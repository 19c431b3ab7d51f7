package consul

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/config"
	"usher/watcher/consul/consultest"
)

// trip is an http.RoundTripper that answers itself.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// said is a response with this body.
func said(status int, text string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(text)),
	}
}

func TestTokenIsSetPerRequest(t *testing.T) {
	for name, test := range map[string]struct{ had, token string }{
		"none": {"", ""}, "ours": {"", "secret"},
		"instead of another": {"other", "secret"}, "another goes": {"other", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			a := &authorized{trip(func(r *http.Request) (*http.Response, error) {
				sent = r.Header.Values("X-Consul-Token")
				return said(http.StatusOK, ""), nil
			}), newToken(test.token, "", nil)}
			req, err := http.NewRequest(http.MethodGet, "http://consul/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if test.had != "" {
				req.Header.Set("X-Consul-Token", test.had)
			}
			resp, err := a.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if strings.Join(sent, ",") != test.token {
				t.Errorf("sent %q, want %q", sent, test.token)
			}
			if req.Header.Get("X-Consul-Token") != test.had {
				t.Errorf("the caller's request was changed: %v", req.Header)
			}
		})
	}
}

// TestTokenFile follows a file through all that happens to one, a second at a time.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) func() error {
		return func() error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		k := newToken("first", file, slog.New(slog.NewTextHandler(&log, nil)))
		for _, step := range []struct {
			name  string
			do    func() error
			want  string
			lines int
		}{
			{"not there yet", func() error { return nil }, "first", 1},
			{"still not there", func() error { return nil }, "first", 1},
			{"written", write(" second\n"), "second", 2},
			{"written again", write("third!"), "third!", 2},
			{"empty", write("\n"), "third!", 3},
			{"binary", write("a\x00b"), "third!", 3},
			{"two words", write("two words"), "third!", 3},
			{"huge", write(strings.Repeat("x", maxToken+1)), "third!", 3},
			{"well again", write("fourth"), "fourth", 4},
			{"of the same age and size", func() error {
				info, err := os.Stat(file)
				if err != nil {
					return err
				}
				if err := os.WriteFile(file+"2", []byte("sixth!"), 0o600); err != nil {
					return err
				}
				if err := os.Chtimes(file+"2", info.ModTime(), info.ModTime()); err != nil {
					return err
				}
				return os.Rename(file+"2", file)
			}, "sixth!", 4},
			{"gone", func() error { return os.Remove(file) }, "sixth!", 5},
			{"a folder", func() error { return os.Mkdir(file, 0o700) }, "sixth!", 5},
			{"a folder no more", func() error { return os.Remove(file) }, "sixth!", 5},
			{"the same as ever", write("sixth!"), "sixth!", 6},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			<-time.After(tokenEvery)
			if got := k.get(); got != step.want {
				t.Errorf("%s: got %q, want %q", step.name, got, step.want)
			}
			if got := strings.Count(log.String(), "\n"); got != step.lines {
				t.Errorf("%s: %d lines in the log, want %d\n%s", step.name, got, step.lines, log.String())
			}
			if strings.Contains(log.String(), "two words") || strings.Contains(log.String(), "sixth") {
				t.Fatalf("%s: a token in the log\n%s", step.name, log.String())
			}
		}
	})
}

// TestTokenIsLookedForSeldom: at most once a second, however many ask.
func TestTokenIsLookedForSeldom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := newToken("", file, slog.New(slog.DiscardHandler))
		if got := k.get(); got != "one" {
			t.Errorf("got %q", got)
		}
		if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-time.After(tokenEvery - 1)
		if got := k.get(); got != "one" {
			t.Errorf("within the second: %q", got)
		}
		<-time.After(1)
		if got := k.get(); got != "second" {
			t.Errorf("after it: %q", got)
		}
	})
}

// FuzzToken: what is taken for a token can stand in a header as it is.
func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "\n", "a", " a \r\n", "a b", "a\nb", "\xff", "5e17ab1e-0000\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := parseToken(data)
		if (value == "") != (err != nil) {
			t.Fatalf("%q, %v", value, err)
		}
		if strings.ContainsAny(value, " \t\r\n\x00\x7f") || len(value) > maxToken {
			t.Fatalf("%q is no token", value)
		}
		if !bytes.Contains(data, []byte(value)) {
			t.Fatalf("%q from %q", value, data)
		}
		if err != nil && len(data) > 20 && strings.Contains(err.Error(), string(data)) {
			t.Fatalf("the error tells the token: %v", err)
		}
	})
}

// TestTokenRotation: the token of an agent with access control is replaced while a
// client uses it, and the old one is revoked.
func TestTokenRotation(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	const read = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`
	file := filepath.Join(t.TempDir(), "token")
	rotate := func() (old func()) {
		t.Helper()
		secret := a.NewToken(read)
		if err := os.WriteFile(file+".new", []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		tokens, _, err := a.Client().ACL().TokenList(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range tokens {
			if k.SecretID == secret {
				return func() {
					if _, err := a.Client().ACL().TokenDelete(k.AccessorID, nil); err != nil {
						t.Error(err)
					}
				}
			}
		}
		t.Fatal("the new token is not listed")
		return nil
	}
	revoke := rotate()
	c := config.Consul{Address: a.Addr(), Token: "stale", TokenFile: file}
	conn, err := connect(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.transport.CloseIdleConnections()
	seen := func() bool {
		services, _, err := conn.client.Catalog().Services(nil)
		return err == nil && services["consul"] != nil
	}
	consultest.Eventually(t, "the first token serves", seen)
	revoke()
	consultest.Eventually(t, "it is revoked", func() bool { return !seen() })
	rotate()
	consultest.Eventually(t, "the second token serves", seen)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if !seen() {
		t.Error("the token is lost with its file")
	}
}
