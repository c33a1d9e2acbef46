package vaults

import "github.com/tvzero/tokenvault/refresh"

// RefreshReasons are those that statuses follow from.
func RefreshReasons() []refresh.Reason {
	return []refresh.Reason{reasonNoToken, reasonRefused, reasonAcknowledged, reasonOtherProvider, reasonNotSupported}
}
