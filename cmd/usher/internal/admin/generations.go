package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"usher/cmd/usher/internal/api"
)

// Past answers what operators ask about the tables of the past, and of requests that came.
// Its methods may be called from any goroutine; the values are the caller's.
type Past interface {
	// Generations returns the tables that are remembered, the newest first, without their
	// changes.
	Generations(ctx context.Context) api.Generations
	// GenerationsAround returns those that came into use from one moment to another, with
	// their changes, and the one that was in use when that time began.
	GenerationsAround(ctx context.Context, from, to time.Time) api.Generations
	// Generation returns the one that the table of that number belongs to.
	Generation(ctx context.Context, number uint64) (g api.Generation, known bool)
	// Diff compares two tables; the error says which is not remembered.
	Diff(ctx context.Context, from, to uint64) (api.Diff, error)
	// Pin holds the rules of a generation from now on, Unpin no one's. They return when that
	// is in force.
	Pin(ctx context.Context, number uint64) (api.Pinned, error)
	Unpin(ctx context.Context) (api.Pinned, error)
	// Requests returns the recent requests that are remembered, the oldest first.
	Requests() []api.SampledRequest
	// Snapshot returns what is known of the registries and the rules that are in force, as
	// plan reads it.
	Snapshot() ([]byte, error)
}

// ErrUnknown marks a question about what is not there, or no longer.
var ErrUnknown = errors.New("not remembered")

// nearby is how far around a time the generations are told.
const nearby = time.Minute

// pastEndpoints are those of Past.
func pastEndpoints(p Past) []endpoint {
	return slices.Concat(generationEndpoints(p), pinEndpoints(p), []endpoint{
		{
			method: http.MethodGet, path: "/requests",
			summary: "A sample of the recent requests, as far as they decide where they go; without secrets",
			answer:  []api.SampledRequest{},
			serve:   func(w http.ResponseWriter, _ *http.Request) { answer(w, p.Requests()) },
		},
		{
			method: http.MethodGet, path: "/snapshot",
			summary: "What the registries said and the rules in force, as usher plan reads it; a file, not JSON",
			kind:    "application/octet-stream", answer: "",
			serve: func(w http.ResponseWriter, _ *http.Request) { snapshot(w, p) },
		},
	})
}

// numberParam is the one in a path.
func numberParam() []param { return []param{{"number", "the number of a table"}} }

func generationEndpoints(p Past) []endpoint {
	return []endpoint{
		{
			method: http.MethodGet, path: "/generations",
			summary: "The tables of the recent past: when they came into use, why, and what they changed",
			params: []param{
				{"at", "a time, RFC 3339 or the last 15:04: the generations around it, with their changes"},
				{"for", "how long from that time on, as in 90s"},
				{"n", "how many at most"},
			},
			answer: api.Generations{},
			serve:  func(w http.ResponseWriter, r *http.Request) { generations(w, r, p) },
		},
		{
			method: http.MethodGet, path: "/generations/{number}", summary: "One generation with its changes",
			params: numberParam(), answer: api.Generation{},
			serve: func(w http.ResponseWriter, r *http.Request) {
				numbered(w, r.PathValue("number"), func(n uint64) (any, error) {
					g, known := p.Generation(r.Context(), n)
					if !known {
						return nil, fmt.Errorf("generation %d is %w", n, ErrUnknown)
					}
					return g, nil
				})
			},
		},
		{
			method: http.MethodGet, path: "/generations/diff", summary: "How two generations differ",
			params: []param{{"from", "the number of a table"}, {"to", "that of another one"}}, answer: api.Diff{},
			serve: func(w http.ResponseWriter, r *http.Request) {
				numbered(w, r.FormValue("from"), func(from uint64) (any, error) {
					to, err := strconv.ParseUint(r.FormValue("to"), 10, 64)
					if err != nil {
						return nil, fmt.Errorf("to=%q is no number of a generation", r.FormValue("to"))
					}
					return p.Diff(r.Context(), from, to)
				})
			},
		},
	}
}

func pinEndpoints(p Past) []endpoint {
	return []endpoint{
		{
			method: http.MethodPost, path: "/generations/{number}/pin",
			summary: "Hold the rules of a generation, while instances follow the registries",
			params:  numberParam(), answer: api.Pinned{},
			serve: func(w http.ResponseWriter, r *http.Request) {
				numbered(w, r.PathValue("number"), func(n uint64) (any, error) { return p.Pin(r.Context(), n) })
			},
		},
		{
			method: http.MethodPost, path: "/generations/unpin", summary: "Follow the rules of now again",
			answer: api.Pinned{},
			serve: func(w http.ResponseWriter, r *http.Request) {
				answerOr(w, func() (any, error) { return p.Unpin(r.Context()) })
			},
		},
	}
}

// numbered answers with what of returns for the number in a text.
func numbered(w http.ResponseWriter, text string, of func(uint64) (any, error)) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf("%q is no number of a generation", text))
		return
	}
	answerOr(w, func() (any, error) { return of(n) })
}

func answerOr(w http.ResponseWriter, of func() (any, error)) {
	v, err := of()
	switch {
	case errors.Is(err, ErrUnknown):
		fail(w, http.StatusNotFound, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusServiceUnavailable, err.Error())
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error())
	default:
		answer(w, v)
	}
}

// generations answers with all of them, or those around a time.
func generations(w http.ResponseWriter, r *http.Request, p Past) {
	var out api.Generations
	if at := r.FormValue("at"); at != "" {
		from, to, err := window(at, r.FormValue("for"), time.Now())
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		out = p.GenerationsAround(r.Context(), from.Add(-nearby), to.Add(nearby))
	} else {
		out = p.Generations(r.Context())
	}
	if text := r.FormValue("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fail(w, http.StatusBadRequest, fmt.Sprintf("n=%q is no number above 0", text))
			return
		}
		out.Generations = out.Generations[:min(n, len(out.Generations))]
	}
	answer(w, out)
}

// window is the time that at and the duration behind it mean: a minute where at is one.
func window(at, length string, now time.Time) (from, to time.Time, err error) {
	from, d, err := ParseTime(at, now)
	if err != nil {
		return from, to, err
	}
	if length != "" {
		if d, err = time.ParseDuration(length); err != nil || d < 0 {
			return from, to, fmt.Errorf("for=%q is no duration", length)
		}
	}
	return from, from.Add(d), nil
}

// ParseTime reads a time: RFC 3339, or 15:04 or 15:04:05, which stand for the last such time
// before now in now's zone. precision is how long the text leaves open.
func ParseTime(text string, now time.Time) (at time.Time, precision time.Duration, err error) {
	if at, err = time.Parse(time.RFC3339, text); err == nil {
		return at, time.Second, nil
	}
	for layout, precision := range map[string]time.Duration{"15:04": time.Minute, "15:04:05": time.Second} {
		clock, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		on := func(day int) time.Time {
			h, m, s := clock.Clock()
			return time.Date(now.Year(), now.Month(), day, h, m, s, 0, now.Location())
		}
		if at = on(now.Day()); at.After(now) {
			at = on(now.Day() - 1)
		}
		return at, precision, nil
	}
	return at, 0, fmt.Errorf("%q is no time: give it as 03:12, 03:12:30 or 2026-01-02T03:12:30Z", text)
}

func snapshot(w http.ResponseWriter, p Past) {
	data, err := p.Snapshot()
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(data) // the client is gone if this fails
}
