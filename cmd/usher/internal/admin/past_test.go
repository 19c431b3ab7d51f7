package admin

import (
	"context"
	"fmt"
	"time"

	"usher/cmd/usher/internal/api"
)

// The house remembers one generation, the seventh.

func (h *house) Generations(context.Context) api.Generations {
	return api.Generations{Current: 7, Generations: []api.Generation{{Number: 7, Last: 7}}}
}

func (h *house) GenerationsAround(ctx context.Context, _, _ time.Time) api.Generations {
	return h.Generations(ctx)
}

func (h *house) Generation(_ context.Context, number uint64) (api.Generation, bool) {
	return api.Generation{Number: number, Last: number}, number == 7
}

func (h *house) Diff(_ context.Context, from, to uint64) (api.Diff, error) {
	if from != 7 || to != 7 {
		return api.Diff{}, fmt.Errorf("it is %w", ErrUnknown)
	}
	return api.Diff{From: from, To: to, Changes: []api.Change{}}, nil
}

func (h *house) Pin(_ context.Context, number uint64) (api.Pinned, error) {
	return api.Pinned{Pinned: &number}, h.did("pin")
}

func (h *house) Unpin(context.Context) (api.Pinned, error) { return api.Pinned{}, h.did("unpin") }

func (h *house) Requests() []api.SampledRequest { return []api.SampledRequest{} }

func (h *house) Snapshot() ([]byte, error) { return []byte("snapshot"), nil }
