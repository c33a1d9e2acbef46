//go:build race

package store_test

// raceDetector reports whether the tests run under it, many times as slow.
const raceDetector = true
