package admin

import (
	"fmt"
	"net/http"
	"strings"

	"usher/cmd/usher/internal/api"
)

// Explainer says where requests would go. Its methods may be called from any goroutine.
type Explainer interface {
	// Explain says what would become of a request, and why. Nothing is sent, acquired or
	// counted for it. The error is of a question that cannot be asked.
	Explain(q api.Question) (api.Explanation, error)
}

func explainEndpoint(a Explainer) endpoint {
	return endpoint{
		method: http.MethodGet, path: "/explain", summary: "Where a request would go, and why",
		params: []param{
			{"url", "what is asked for: http://shop.example.com/orders, or tcp://:3306, or tls://db.example.com"},
			{"method", "the method; GET without"},
			{"header", "a field, Name: value; may be given several times"},
			{"listener", "the listener that it comes in by; without, the URL's scheme and port say"},
			{"client", "the address that it comes from; 127.0.0.1 without"},
		},
		answer: api.Explanation{},
		serve:  func(w http.ResponseWriter, r *http.Request) { explain(w, r, a) },
	}
}

func explain(w http.ResponseWriter, r *http.Request, a Explainer) {
	q, err := questionOf(r)
	if err == nil {
		var e api.Explanation
		if e, err = a.Explain(q); err == nil {
			answer(w, e)
			return
		}
	}
	fail(w, http.StatusBadRequest, err.Error())
}

// questionOf reads the parameters of a question.
func questionOf(r *http.Request) (api.Question, error) {
	values := r.URL.Query()
	q := api.Question{
		URL: values.Get("url"), Method: values.Get("method"), Listener: values.Get("listener"),
		Client: values.Get("client"),
	}
	for _, line := range values["header"] {
		if err := q.AddHeader(line); err != nil {
			return q, err
		}
	}
	if strings.TrimSpace(q.URL) == "" {
		return q, fmt.Errorf("url is missing: what is to be explained")
	}
	return q, nil
}
