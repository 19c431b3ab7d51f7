package admin

import (
	"encoding/json"
	"net/http"

	"usher/cmd/usher/internal/api"
)

const jsonType = "application/json"

func answer(w http.ResponseWriter, v any) { respond(w, http.StatusOK, v) }

func fail(w http.ResponseWriter, code int, why string) { respond(w, code, api.Error{Error: why}) }

func respond(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}
