//go:build race

package platform_test

// readersAtOnce is fewer where the race detector makes each some twenty times slower,
// so that patience does not end first; real servers are read by a thousand.
const readersAtOnce = 200
