package vaults_test

import (
	"slices"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/refreshes"
	"github.com/tvzero/tokenvault/server/internal/vaults"
)

// Statuses follow from reasons that another package writes down.
func TestReasonsBehindStatusesAreThoseOfRefreshes(t *testing.T) {
	t.Parallel()
	for _, reason := range vaults.RefreshReasons() {
		if !slices.Contains(refreshes.Reasons(), reason) {
			t.Errorf("%q is none of package refreshes: %v", reason, refreshes.Reasons())
		}
	}
}
